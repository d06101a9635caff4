"""ESMTP parameters of MAIL and RCPT, as one table.

A row of `PARAMETERS` says everything about a parameter: its keyword, its command, the
field of `MailOptions` or `RcptOptions` that holds its value, how the value is decoded
and encoded, and its RFC. Adding a parameter is one row, and one field. A row whose
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
import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar

from smtpx.errors import BadAddress, BadParameter
from smtpx.wire.address import Mailbox
from smtpx.wire.octets import (
    decode_utf8_addr,
    decode_xtext,
    encode_utf8_addr_unitext,
    encode_utf8_addr_xtext,
    encode_xtext,
    escape_octets,
    require_safe,
)

__all__ = [
    "ASCII_ONLY",
    "DEFAULT_MAIL_OPTIONS",
    "DEFAULT_RCPT_OPTIONS",
    "MAIL_PARAMETERS",
    "MAX_ENVID_OCTETS",
    "MAX_ORCPT_CHARACTERS",
    "PARAMETERS",
    "RCPT_PARAMETERS",
    "BodyType",
    "EncodeContext",
    "MailOptions",
    "Notify",
    "OriginalRecipient",
    "Parameter",
    "ParameterTable",
    "RcptOptions",
    "ReturnContent",
    "encode_parameters",
    "make_parameter_table",
    "parse_parameters",
]

MAX_ENVID_OCTETS: Final = 100
"""Of the value of ENVID, encoded (RFC 3461 section 4.4)."""

MAX_ORCPT_CHARACTERS: Final = 500
"""Of the value of ORCPT, encoded (RFC 3461 section 4.2)."""

# ------------------------------------------------------------------------------- values


class BodyType(enum.StrEnum):
    """What kind of body the message has (RFC 6152 section 3, RFC 3030 section 3)."""

    SEVENBIT = "7BIT"
    EIGHTBITMIME = "8BITMIME"
    BINARYMIME = "BINARYMIME"


class ReturnContent(enum.StrEnum):
    """How much of the message a failure report holds (RFC 3461 section 4.3)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Notify(enum.StrEnum):
    """When a delivery status notification is wanted (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True)
class OriginalRecipient:
    """The recipient as the sender named it (RFC 3461 section 4.2).

    Attributes:
        address_type: ``rfc822``, ``utf-8`` (RFC 6533 section 3) or another registered
            one, as written.
        address: decoded; printable ASCII unless the type is ``utf-8``.
    """

    address_type: str
    address: str

    @property
    def is_utf8(self) -> bool:
        """Whether the address may hold more than ASCII."""
        return self.address_type.lower() == "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailOptions:
    """The parameters of MAIL.

    Attributes:
        size: of the message in octets, as declared (RFC 1870).
        body: the kind of body (RFC 6152, RFC 3030).
        smtputf8: the envelope or a header may hold UTF-8 (RFC 6531).
        auth: who submitted the message, a mailbox; ``""`` is ``<>``, unknown or not
            trusted (RFC 4954 section 5).
        return_content: for failure reports (RFC 3461).
        envelope_id: for reports, printable ASCII (RFC 3461).
        extra: parameters without a field of their own, by keyword in upper case. Not
            to be changed.
    """

    size: int | None = None
    body: BodyType | None = None
    smtputf8: bool = False
    auth: str | None = None
    return_content: ReturnContent | None = None
    envelope_id: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RcptOptions:
    """The parameters of RCPT.

    Attributes:
        notify: when to send a delivery status notification; empty leaves it to the
            server (RFC 3461).
        original_recipient: for reports (RFC 3461).
        extra: parameters without a field of their own, by keyword in upper case. Not
            to be changed.
    """

    notify: tuple[Notify, ...] = ()
    original_recipient: OriginalRecipient | None = None
    extra: Mapping[str, object] = field(default_factory=dict, hash=False)


DEFAULT_MAIL_OPTIONS: Final = MailOptions()
"""MAIL without parameters; shared, as most commands have none."""

DEFAULT_RCPT_OPTIONS: Final = RcptOptions()
"""RCPT without parameters; shared, as most commands have none."""

# ---------------------------------------------------------------------------- the table


@dataclass(frozen=True, slots=True)
class EncodeContext:
    """What an encoder has to know of the server.

    Attributes:
        smtputf8: the transaction uses SMTPUTF8, so values may hold UTF-8.
    """

    smtputf8: bool = False


ASCII_ONLY: Final = EncodeContext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A row of the table.

    Attributes:
        keyword: in upper case.
        command: ``"MAIL"`` or ``"RCPT"``.
        field: of `MailOptions` or `RcptOptions`; empty for ``extra``.
        decode: takes the value as on the wire, None if there is none, and returns what
            the field holds. Raises `smtpx.errors.BadParameter`.
        encode: takes what the field holds, and returns the value for the wire, None
            for the keyword alone. It is not called for None, False or ``()``.
        rfc: where it is defined.
    """

    keyword: str
    command: str
    field: str = ""
    decode: Callable[[bytes | None], object]
    encode: Callable[[Any, EncodeContext], bytes | None]
    rfc: str


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
        source = given if row.field else extra
        value = source.pop(row.field or row.keyword, None)
        if value is not None:
            parts.append(_encode_parameter(row, value, context))
    if given or extra:
        missing = ", ".join([*given, *extra])
        raise BadParameter(f"the server offers no parameter for {missing}", code=555)
    return b"".join(parts)


def _fields(options_type: type) -> tuple[tuple[str, ...], attrgetter[tuple[Any, ...]]]:
    """Return what encode_parameters reads of options: names, and how to get values."""
    names = [item.name for item in dataclasses.fields(options_type)]
    names.remove("extra")
    return tuple(names), attrgetter(*names)


_FIELDS: Final = {kind: _fields(kind) for kind in (MailOptions, RcptOptions)}

# ------------------------------------------------------------------------------- codecs

_PRINTABLE = re.compile(r"[\t -~]*")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+")
_SIZE = re.compile(rb"[0-9]{1,20}")

_EnumT = TypeVar("_EnumT", bound=enum.StrEnum)


def _words(choices: Iterable[_EnumT]) -> dict[bytes, _EnumT]:
    """Return choices by their words on the wire."""
    return {choice.encode("ascii"): choice for choice in choices}


_BODY_TYPES = _words(BodyType)
_RETURN_CONTENTS = _words(ReturnContent)
_NOTIFY = _words(Notify)


def _require_value(value: bytes | None, keyword: str) -> bytes:
    """Refuse a keyword that stands alone."""
    if value is None:
        raise BadParameter(f"{keyword} needs a value")
    return value


def _decode_choice(
    value: bytes, keyword: str, choices: Mapping[bytes, _EnumT]
) -> _EnumT:
    """Decode one of a few words, in any case."""
    choice = choices.get(value.upper())
    if choice is None:
        raise BadParameter(f"bad {keyword} value: {escape_octets(value)}")
    return choice


def _decode_printable(value: bytes, keyword: str) -> str:
    """Decode xtext that stands for printable ASCII and white space."""
    octets = decode_xtext(value)
    text = octets.decode("latin-1")
    if _PRINTABLE.fullmatch(text) is None:
        raise BadParameter(f"{keyword} is not printable: {escape_octets(octets)}")
    return text


def _encode_printable(text: str, keyword: str) -> bytes:
    """Encode printable ASCII and white space as xtext."""
    if _PRINTABLE.fullmatch(text) is None:
        raise BadParameter(f"{keyword} is not printable ASCII: {text!a}")
    return encode_xtext(text.encode("ascii"))


def _decode_flag(keyword: str) -> Callable[[bytes | None], bool]:
    """Return the decoder of a parameter that takes no value."""

    def decode(value: bytes | None) -> bool:
        if value is not None:
            raise BadParameter(f"{keyword} takes no value")
        return True

    return decode


def _encode_flag(_value: object, _context: EncodeContext) -> None:
    """Encode a parameter that takes no value."""


def _decode_size(value: bytes | None) -> int:
    """Decode size-value (RFC 1870 section 6.1)."""
    octets = _require_value(value, "SIZE")
    if _SIZE.fullmatch(octets) is None:
        raise BadParameter(f"bad SIZE value: {escape_octets(octets)}")
    return int(octets)


def _encode_size(size: int, _context: EncodeContext) -> bytes:
    """Encode size-value."""
    if not 0 <= size < 10**20:
        raise BadParameter(f"bad SIZE value: {size}")
    return b"%d" % size


def _decode_body(value: bytes | None) -> BodyType:
    """Decode body-value (RFC 6152 section 3, RFC 3030 section 3)."""
    return _decode_choice(_require_value(value, "BODY"), "BODY", _BODY_TYPES)


def _encode_word(word: enum.StrEnum, _context: EncodeContext) -> bytes:
    """Encode one of a few words."""
    return word.encode("ascii")


def _decode_auth(value: bytes | None) -> str:
    """Decode the mailbox in AUTH= (RFC 4954 section 5)."""
    octets = _require_value(value, "AUTH")
    if octets == b"<>":
        return ""
    try:
        # Lenient: hexchars may stand for UTF-8, which RFC 4954 could not foresee.
        return str(Mailbox.parse(decode_xtext(octets).decode("utf-8")))
    except (BadAddress, UnicodeDecodeError):
        raise BadParameter(f"bad AUTH value: {escape_octets(octets)}") from None


def _encode_auth(auth: str, _context: EncodeContext) -> bytes:
    """Encode the mailbox in AUTH=."""
    return encode_xtext(Mailbox.parse(auth).encode()) if auth else b"<>"


def _decode_return_content(value: bytes | None) -> ReturnContent:
    """Decode the value of RET (RFC 3461 section 4.3)."""
    return _decode_choice(_require_value(value, "RET"), "RET", _RETURN_CONTENTS)


def _require_envid_length(octets: bytes) -> bytes:
    """Refuse an ENVID that is too long."""
    if len(octets) > MAX_ENVID_OCTETS:
        raise BadParameter(f"ENVID has more than {MAX_ENVID_OCTETS} characters")
    return octets


def _decode_envelope_id(value: bytes | None) -> str:
    """Decode the value of ENVID (RFC 3461 section 4.4)."""
    octets = _require_envid_length(_require_value(value, "ENVID"))
    return _decode_printable(octets, "ENVID")


def _encode_envelope_id(envelope_id: str, _context: EncodeContext) -> bytes:
    """Encode the value of ENVID."""
    return _require_envid_length(_encode_printable(envelope_id, "ENVID"))


def _require_notify_alone(notify: tuple[Notify, ...]) -> tuple[Notify, ...]:
    """Refuse NEVER among others (RFC 3461 section 4.1)."""
    if Notify.NEVER in notify and len(notify) > 1:
        raise BadParameter("NOTIFY=NEVER must stand alone")
    return notify


def _decode_notify(value: bytes | None) -> tuple[Notify, ...]:
    """Decode notify-esmtp-value (RFC 3461 section 4.1)."""
    words = _require_value(value, "NOTIFY").split(b",")
    return _require_notify_alone(
        tuple(_decode_choice(word, "NOTIFY", _NOTIFY) for word in words)
    )


def _encode_notify(notify: tuple[Notify, ...], _context: EncodeContext) -> bytes:
    """Encode notify-esmtp-value."""
    return ",".join(_require_notify_alone(notify)).encode("ascii")


def _decode_original_recipient(value: bytes | None) -> OriginalRecipient:
    """Decode original-recipient-address (RFC 3461 section 4.2, RFC 6533 section 3)."""
    octets = _require_value(value, "ORCPT")
    if len(octets.decode("utf-8")) > MAX_ORCPT_CHARACTERS:
        raise BadParameter(f"ORCPT has more than {MAX_ORCPT_CHARACTERS} characters")
    address_type, semicolon, address = octets.partition(b";")
    type_name = address_type.decode("latin-1")
    if not semicolon or _ADDRESS_TYPE.fullmatch(type_name) is None:
        raise BadParameter(f"bad ORCPT value: {escape_octets(octets)}")
    if type_name.lower() == "utf-8":
        return OriginalRecipient(type_name, decode_utf8_addr(address))
    return OriginalRecipient(type_name, _decode_printable(address, "ORCPT"))


def _encode_original_recipient(
    recipient: OriginalRecipient, context: EncodeContext
) -> bytes:
    """Encode original-recipient-address."""
    if _ADDRESS_TYPE.fullmatch(recipient.address_type) is None:
        raise BadParameter(f"bad address type: {recipient.address_type!a}")
    if not recipient.is_utf8:
        address = _encode_printable(recipient.address, "ORCPT")
    elif context.smtputf8:
        address = encode_utf8_addr_unitext(recipient.address)
    else:
        address = encode_utf8_addr_xtext(recipient.address)
    octets = recipient.address_type.encode("ascii") + b";" + address
    if len(octets.decode("utf-8")) > MAX_ORCPT_CHARACTERS:
        raise BadParameter(f"ORCPT has more than {MAX_ORCPT_CHARACTERS} characters")
    return octets


PARAMETERS: Final[tuple[Parameter, ...]] = (
    Parameter(
        keyword="SIZE",
        command="MAIL",
        field="size",
        decode=_decode_size,
        encode=_encode_size,
        rfc="RFC 1870",
    ),
    Parameter(
        keyword="BODY",
        command="MAIL",
        field="body",
        decode=_decode_body,
        encode=_encode_word,
        rfc="RFC 6152",
    ),
    Parameter(
        keyword="SMTPUTF8",
        command="MAIL",
        field="smtputf8",
        decode=_decode_flag("SMTPUTF8"),
        encode=_encode_flag,
        rfc="RFC 6531",
    ),
    Parameter(
        keyword="AUTH",
        command="MAIL",
        field="auth",
        decode=_decode_auth,
        encode=_encode_auth,
        rfc="RFC 4954",
    ),
    Parameter(
        keyword="RET",
        command="MAIL",
        field="return_content",
        decode=_decode_return_content,
        encode=_encode_word,
        rfc="RFC 3461",
    ),
    Parameter(
        keyword="ENVID",
        command="MAIL",
        field="envelope_id",
        decode=_decode_envelope_id,
        encode=_encode_envelope_id,
        rfc="RFC 3461",
    ),
    Parameter(
        keyword="NOTIFY",
        command="RCPT",
        field="notify",
        decode=_decode_notify,
        encode=_encode_notify,
        rfc="RFC 3461",
    ),
    Parameter(
        keyword="ORCPT",
        command="RCPT",
        field="original_recipient",
        decode=_decode_original_recipient,
        encode=_encode_original_recipient,
        rfc="RFC 3461",
    ),
)
"""Every parameter that smtpx knows, in the order in which it sends them."""

MAIL_PARAMETERS: Final = make_parameter_table(PARAMETERS, "MAIL")
RCPT_PARAMETERS: Final = make_parameter_table(PARAMETERS, "RCPT")
