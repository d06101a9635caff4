"""Parsing and encoding the parameters of MAIL and RCPT, as tests want it."""

from __future__ import annotations

import pytest

from smtpx.errors import BadParameter
from smtpx.wire.options import EncodeContext, MailOptions, RcptOptions
from smtpx.wire.params import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    ParameterTable,
    encode_parameters,
    parse_parameters,
)


def parse_mail(octets: bytes) -> MailOptions:
    return MailOptions(**parse_parameters(octets, MAIL_PARAMETERS))


def parse_rcpt(octets: bytes) -> RcptOptions:
    return RcptOptions(**parse_parameters(octets, RCPT_PARAMETERS))


def encode(options: MailOptions | RcptOptions, *, smtputf8: bool = False) -> bytes:
    table = MAIL_PARAMETERS if isinstance(options, MailOptions) else RCPT_PARAMETERS
    return encode_parameters(options, table, EncodeContext(smtputf8=smtputf8))


def refusal(octets: bytes, table: ParameterTable) -> BadParameter:
    """Return the error of parsing, whose text must not need escaping."""
    with pytest.raises(BadParameter) as caught:
        parse_parameters(octets, table)
    assert caught.value.enhanced == "5.5.4"
    assert caught.value.text.isascii()
    assert caught.value.text.isprintable()
    return caught.value
