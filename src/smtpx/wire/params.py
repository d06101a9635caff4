"""ESMTP parameters of MAIL and RCPT, as one table.

A row of `PARAMETERS` says everything about a parameter: its keyword, its command, the
field of `MailOptions` or `RcptOptions` that holds its value, the codec of the value,
and its RFC. Adding a parameter is one row, one field and maybe a codec. A row whose
field is empty keeps its value in ``extra`` under the keyword; users add such rows.

>>> values = parse_parameters(b"SIZE=1000 body=8bitmime", MAIL_PARAMETERS)
>>> options = MailOptions(**values)
>>> options.size, options.body
(1000, <BodyType.EIGHTBITMIME: '8BITMIME'>)
>>> encode_parameters(options, MAIL_PARAMETERS)
b' SIZE=1000 BODY=8BITMIME'
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeAlias

from smtpx.errors import BadParameter
from smtpx.wire import codecs
from smtpx.wire.codecs import (
    MAX_ENVID_OCTETS,
    MAX_ORCPT_CHARACTERS,
    MAX_SOLICIT_CHARACTERS,
)
from smtpx.wire.octets import escape_octets, require_safe
from smtpx.wire.options import (
    ASCII_ONLY,
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    BodyType,
    ByMode,
    DeliverBy,
    EncodeContext,
    MailOptions,
    NoSupportAction,
    Notify,
    OriginalRecipient,
    RcptOptions,
    ReturnContent,
    ValidSince,
)

__all__ = [
    "ASCII_ONLY",
    "DEFAULT_MAIL_OPTIONS",
    "DEFAULT_RCPT_OPTIONS",
    "MAIL_PARAMETERS",
    "MAX_ENVID_OCTETS",
    "MAX_ORCPT_CHARACTERS",
    "MAX_SOLICIT_CHARACTERS",
    "PARAMETERS",
    "RCPT_PARAMETERS",
    "BodyType",
    "ByMode",
    "DeliverBy",
    "EncodeContext",
    "MailOptions",
    "NoSupportAction",
    "Notify",
    "OriginalRecipient",
    "Parameter",
    "ParameterTable",
    "RcptOptions",
    "ReturnContent",
    "ValidSince",
    "encode_parameters",
    "make_parameter_table",
    "parse_parameters",
]

# ---------------------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A row of the table.

    Attributes:
        keyword: in upper case.
        command: ``"MAIL"`` or ``"RCPT"``.
        field: of `MailOptions` or `RcptOptions`; empty for ``extra``.
        excludes: a field that cannot be set together with this one.
        decode: takes the value as on the wire, None if there is none, and returns what
            the field holds. Raises `smtpx.errors.BadParameter`.
        encode: takes what the field holds, and returns the value for the wire, None
            for the keyword alone. It is not called for None, False or ``()``.
        rfc: where it is defined.
        is_compatibility: the RFC has it for the other command, but some peers send it
            here; a server takes it only if its settings say so.
    """

    keyword: str
    command: str
    field: str = ""
    excludes: str = ""
    decode: Callable[[bytes | None], object]
    encode: Callable[[Any, EncodeContext], bytes | None]
    rfc: str
    is_compatibility: bool = False


ParameterTable: TypeAlias = Mapping[bytes, Parameter]

# esmtp-param; UTF-8 in the value by RFC 6531 section 3.3.
_VALUE = rb"[!-<>-~\x80-\xff]++"
_match_parameter = re.compile(
    rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=(" + _VALUE + rb"))?"
).fullmatch
_match_value = re.compile(_VALUE).fullmatch


def make_parameter_table(
    parameters: Iterable[Parameter], command: str
) -> ParameterTable:
    """Return the rows that are for one command, by keyword."""
    return {
        row.keyword.encode("ascii"): row for row in parameters if row.command == command
    }


def _parse_parameter(
    octets: bytes, table: ParameterTable
) -> tuple[Parameter, bytes | None]:
    """Parse one esmtp-param; return its row and its value."""
    match = _match_parameter(octets)
    if match is None:
        raise BadParameter(f"bad parameter: {escape_octets(octets)}")
    keyword, value = match.groups()
    row = table.get(keyword.upper())
    if row is None:
        # RFC 5321 section 4.1.1.11
        raise BadParameter(f"unknown parameter {keyword.decode('ascii')}", code=555)
    if value is not None and not value.isascii():
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadParameter(f"not UTF-8: {escape_octets(octets)}") from None
    return row, value


def parse_parameters(octets: bytes, table: ParameterTable) -> dict[str, Any]:
    """Parse Mail-parameters or Rcpt-parameters (RFC 5321 section 4.1.2).

    Args:
        octets: what follows the path. Lenient: any number of spaces may stand before,
            between and after the parameters.
        table: the parameters that may occur, as from `make_parameter_table`.

    Returns:
        Keyword arguments for `MailOptions` or `RcptOptions`.

    Raises:
        BadParameter: 501 5.5.4 if one is malformed or repeated, 555 5.5.4 if the table
            has no row for it.

    >>> parse_parameters(b"NOTIFY=success,failure", RCPT_PARAMETERS)
    {'notify': (<Notify.SUCCESS: 'SUCCESS'>, <Notify.FAILURE: 'FAILURE'>)}
    """
    values: dict[str, Any] = {}
    extra: dict[str, object] = {}
    for item in octets.split(b" "):
        if not item:
            continue
        row, value = _parse_parameter(item, table)
        target, name = (values, row.field) if row.field else (extra, row.keyword)
        if name in target:
            raise BadParameter(f"{row.keyword} is given twice")
        if row.excludes in values:
            raise BadParameter(f"{row.keyword} excludes a parameter before it")
        target[name] = row.decode(value)
    if extra:
        values["extra"] = extra
    return values


def _given(names: Iterable[str], values: Iterable[object]) -> dict[str, object]:
    """Return what there is to encode, by name."""
    return {
        name: value
        for name, value in zip(names, values, strict=True)
        if not (value is None or value is False or value == ())
    }


def _encode_parameter(row: Parameter, value: object, context: EncodeContext) -> bytes:
    """Encode one esmtp-param, with the space before it."""
    keyword = row.keyword.encode("ascii")
    encoded = row.encode(value, context)
    if encoded is None:
        return b" " + keyword
    if _match_value(encoded) is None:
        require_safe(encoded, f"{row.keyword} parameter")
        raise BadParameter(f"bad {row.keyword} value: {escape_octets(encoded)}")
    return b" %b=%b" % (keyword, encoded)


def encode_parameters(
    options: MailOptions | RcptOptions,
    table: ParameterTable,
    context: EncodeContext = ASCII_ONLY,
) -> bytes:
    """Encode options as Mail-parameters or Rcpt-parameters (RFC 5321 section 4.1.2).

    Args:
        options: what to encode.
        table: the parameters that may be sent, in order.
        context: how they may be encoded.

    Returns:
        The parameters, each with a space before it; nothing if none is set.

    Raises:
        BadParameter: a value has no valid encoding, or a field is set that the table
            has no row for. Nothing is ever left out silently.
        UnsafeOctets: an encoded value holds a control octet.

    >>> encode_parameters(RcptOptions(notify=(Notify.NEVER,)), RCPT_PARAMETERS)
    b' NOTIFY=NEVER'
    """
    if options is DEFAULT_MAIL_OPTIONS or options is DEFAULT_RCPT_OPTIONS:
        return b""
    names, get_values = _FIELDS[type(options)]
    given = _given(names, get_values(options))
    extra = _given(options.extra, options.extra.values())
    parts = []
    for row in table.values():
        source, name = (given, row.field) if row.field else (extra, row.keyword)
        if name not in source:
            continue
        if row.excludes in given:
            raise BadParameter(f"{row.field} excludes {row.excludes}")
        parts.append(_encode_parameter(row, source.pop(name), context))
        if not given and not extra:
            return b"".join(parts)
    if given or extra:
        missing = ", ".join([*given, *extra])
        raise BadParameter(
            f"no parameter for {missing} is both registered and offered", code=555
        )
    return b""


def _fields(options_type: type) -> tuple[tuple[str, ...], attrgetter[tuple[Any, ...]]]:
    """Return what encode_parameters reads of options: names, and how to get values."""
    names = [item.name for item in dataclasses.fields(options_type)]
    names.remove("extra")
    return tuple(names), attrgetter(*names)


_FIELDS: Final = {kind: _fields(kind) for kind in (MailOptions, RcptOptions)}

_OF_RFC: Final[tuple[Parameter, ...]] = (
    Parameter(
        keyword="SIZE",
        command="MAIL",
        field="size",
        decode=codecs.decode_size,
        encode=codecs.encode_size,
        rfc="RFC 1870",
    ),
    Parameter(
        keyword="BODY",
        command="MAIL",
        field="body",
        decode=codecs.decode_body,
        encode=codecs.encode_word,
        rfc="RFC 6152",
    ),
    Parameter(
        keyword="SMTPUTF8",
        command="MAIL",
        field="smtputf8",
        decode=codecs.decode_flag("SMTPUTF8"),
        encode=codecs.encode_flag,
        rfc="RFC 6531",
    ),
    Parameter(
        keyword="AUTH",
        command="MAIL",
        field="auth",
        decode=codecs.decode_auth,
        encode=codecs.encode_auth,
        rfc="RFC 4954",
    ),
    Parameter(
        keyword="RET",
        command="MAIL",
        field="return_content",
        decode=codecs.decode_return_content,
        encode=codecs.encode_word,
        rfc="RFC 3461",
    ),
    Parameter(
        keyword="ENVID",
        command="MAIL",
        field="envelope_id",
        decode=codecs.decode_envelope_id,
        encode=codecs.encode_envelope_id,
        rfc="RFC 3461",
    ),
    Parameter(
        keyword="NOTIFY",
        command="RCPT",
        field="notify",
        decode=codecs.decode_notify,
        encode=codecs.encode_notify,
        rfc="RFC 3461",
    ),
    Parameter(
        keyword="ORCPT",
        command="RCPT",
        field="original_recipient",
        decode=codecs.decode_original_recipient,
        encode=codecs.encode_original_recipient,
        rfc="RFC 3461",
    ),
    Parameter(
        keyword="REQUIRETLS",
        command="MAIL",
        field="requiretls",
        decode=codecs.decode_flag("REQUIRETLS"),
        encode=codecs.encode_flag,
        rfc="RFC 8689",
    ),
    Parameter(
        keyword="BY",
        command="MAIL",
        field="deliver_by",
        decode=codecs.decode_deliver_by,
        encode=codecs.encode_deliver_by,
        rfc="RFC 2852",
    ),
    Parameter(
        keyword="MT-PRIORITY",
        command="MAIL",
        field="mt_priority",
        decode=codecs.decode_mt_priority,
        encode=codecs.encode_mt_priority,
        rfc="RFC 6710",
    ),
    Parameter(
        keyword="HOLDFOR",
        command="MAIL",
        field="hold_for_seconds",
        decode=codecs.decode_hold_for,
        encode=codecs.encode_hold_for,
        rfc="RFC 4865",
        excludes="hold_until",
    ),
    Parameter(
        keyword="HOLDUNTIL",
        command="MAIL",
        field="hold_until",
        decode=codecs.decode_hold_until,
        encode=codecs.encode_hold_until,
        rfc="RFC 4865",
        excludes="hold_for_seconds",
    ),
    Parameter(
        keyword="SOLICIT",
        command="MAIL",
        field="solicit",
        decode=codecs.decode_solicit,
        encode=codecs.encode_solicit,
        rfc="RFC 3865",
    ),
    Parameter(
        keyword="XOORG",
        command="MAIL",
        field="xoorg",
        decode=codecs.decode_xoorg,
        encode=codecs.encode_xoorg,
        rfc="Exchange",
    ),
    Parameter(
        keyword="RRVS",
        command="RCPT",
        field="valid_since",
        decode=codecs.decode_valid_since,
        encode=codecs.encode_valid_since,
        rfc="RFC 7293",
    ),
)

PARAMETERS: Final[tuple[Parameter, ...]] = (
    *_OF_RFC,
    # go-smtp reads these with RCPT.
    *(
        dataclasses.replace(row, command="RCPT", is_compatibility=True)
        for row in _OF_RFC
        if row.keyword in {"BY", "MT-PRIORITY"}
    ),
)
"""The parameters of the extensions in `smtpx.wire.extensions`, in the order sent."""

MAIL_PARAMETERS: Final = make_parameter_table(PARAMETERS, "MAIL")
RCPT_PARAMETERS: Final = make_parameter_table(PARAMETERS, "RCPT")
