"""How the value of each ESMTP parameter is decoded and encoded.

A decoder takes what follows the ``=``, None if nothing does, and raises `BadParameter`
for what its RFC does not allow. An encoder takes what the field of the options holds,
and raises the same for what the wire cannot carry. They make one table in
`smtpx.wire.params`, which checks what is common to all: see there for what may stand
in any value.

>>> decode_notify(b"SUCCESS,delay")
(<Notify.SUCCESS: 'SUCCESS'>, <Notify.DELAY: 'DELAY'>)
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from smtpx.errors import BadAddress, BadParameter
from smtpx.wire.address import Mailbox
from smtpx.wire.octets import (
    decode_utf8_addr,
    decode_xtext,
    encode_utf8_addr_unitext,
    encode_utf8_addr_xtext,
    encode_xtext,
    escape_octets,
    has_line_control,
)
from smtpx.wire.options import (
    BodyType,
    ByMode,
    DeliverBy,
    EncodeContext,
    NoSupportAction,
    Notify,
    OriginalRecipient,
    ReturnContent,
    ValidSince,
)

MAX_ENVID_OCTETS: Final = 100
"""Of the value of ENVID, encoded (RFC 3461 section 4.4)."""

MAX_ORCPT_CHARACTERS: Final = 500
"""Of the value of ORCPT, encoded (RFC 3461 section 4.2)."""

MAX_SOLICIT_CHARACTERS: Final = 1000
"""Of the value of SOLICIT (RFC 3865 section 2.2)."""

MAX_SECONDS: Final = 999_999_999
"""Nine digits (RFC 2852 section 4, RFC 4865 section 3)."""

_PRINTABLE = re.compile(r"[\t -~]*")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+")
_SIZE = re.compile(rb"[0-9]{1,20}")
_BY_VALUE = re.compile(rb"([+-]?[0-9]{1,9});([NR])(T?)", re.IGNORECASE)
_PRIORITY = re.compile(rb"-?[1-9]|0")
_HOLD_FOR = re.compile(rb"[1-9][0-9]{0,8}")
_SOLICIT = re.compile(r"[A-Za-z][A-Za-z0-9._:-]*(?:,[A-Za-z][A-Za-z0-9._:-]*)*")
# The date-time of RFC 3339; its letters may be small.
_DATE_TIME = re.compile(
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:([0-9]{2})(\.[0-9]+)?"
    rb"(?:Z|[+-][0-9]{2}:[0-9]{2})",
    re.IGNORECASE,
)

_EnumT = TypeVar("_EnumT", bound=enum.StrEnum)


def _words(choices: Iterable[_EnumT]) -> dict[bytes, _EnumT]:
    """Return choices by their words on the wire."""
    return {choice.encode("ascii"): choice for choice in choices}


_BODY_TYPES = _words(BodyType)
_RETURN_CONTENTS = _words(ReturnContent)
_BY_MODES = _words(ByMode)
_ACTIONS = _words(NoSupportAction)
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


def decode_flag(keyword: str) -> Callable[[bytes | None], bool]:
    """Return the decoder of a parameter that takes no value."""

    def decode(value: bytes | None) -> bool:
        if value is not None:
            raise BadParameter(f"{keyword} takes no value")
        return True

    return decode


def encode_flag(_value: object, _context: EncodeContext) -> None:
    """Encode a parameter that takes no value."""


def decode_size(value: bytes | None) -> int:
    """Decode size-value (RFC 1870 section 6.1)."""
    octets = _require_value(value, "SIZE")
    if _SIZE.fullmatch(octets) is None:
        raise BadParameter(f"bad SIZE value: {escape_octets(octets)}")
    return int(octets)


def encode_size(size: int, _context: EncodeContext) -> bytes:
    """Encode size-value."""
    if not 0 <= size < 10**20:
        raise BadParameter(f"bad SIZE value: {size}")
    return b"%d" % size


def decode_body(value: bytes | None) -> BodyType:
    """Decode body-value (RFC 6152 section 3, RFC 3030 section 3)."""
    return _decode_choice(_require_value(value, "BODY"), "BODY", _BODY_TYPES)


def encode_word(word: enum.StrEnum, _context: EncodeContext) -> bytes:
    """Encode one of a few words."""
    return word.encode("ascii")


def decode_auth(value: bytes | None) -> str:
    """Decode the mailbox in AUTH= (RFC 4954 section 5)."""
    octets = _require_value(value, "AUTH")
    if octets == b"<>":
        return ""
    try:
        # Lenient: hexchars may stand for UTF-8, which RFC 4954 could not foresee.
        return str(Mailbox.parse(decode_xtext(octets).decode("utf-8")))
    except (BadAddress, UnicodeDecodeError):
        raise BadParameter(f"bad AUTH value: {escape_octets(octets)}") from None


def encode_auth(auth: str, _context: EncodeContext) -> bytes:
    """Encode the mailbox in AUTH=."""
    return encode_xtext(Mailbox.parse(auth).encode()) if auth else b"<>"


def decode_return_content(value: bytes | None) -> ReturnContent:
    """Decode the value of RET (RFC 3461 section 4.3)."""
    return _decode_choice(_require_value(value, "RET"), "RET", _RETURN_CONTENTS)


def _require_envid_length(octets: bytes) -> bytes:
    """Refuse an ENVID that is too long."""
    if len(octets) > MAX_ENVID_OCTETS:
        raise BadParameter(f"ENVID has more than {MAX_ENVID_OCTETS} characters")
    return octets


def decode_envelope_id(value: bytes | None) -> str:
    """Decode the value of ENVID (RFC 3461 section 4.4)."""
    octets = _require_envid_length(_require_value(value, "ENVID"))
    return _decode_printable(octets, "ENVID")


def encode_envelope_id(envelope_id: str, _context: EncodeContext) -> bytes:
    """Encode the value of ENVID."""
    return _require_envid_length(_encode_printable(envelope_id, "ENVID"))


def _require_notify_alone(notify: tuple[Notify, ...]) -> tuple[Notify, ...]:
    """Refuse NEVER among others (RFC 3461 section 4.1)."""
    if Notify.NEVER in notify and len(notify) > 1:
        raise BadParameter("NOTIFY=NEVER must stand alone")
    return notify


def decode_notify(value: bytes | None) -> tuple[Notify, ...]:
    """Decode notify-esmtp-value (RFC 3461 section 4.1)."""
    words = _require_value(value, "NOTIFY").split(b",")
    return _require_notify_alone(
        tuple(_decode_choice(word, "NOTIFY", _NOTIFY) for word in words)
    )


def encode_notify(notify: tuple[Notify, ...], _context: EncodeContext) -> bytes:
    """Encode notify-esmtp-value."""
    return ",".join(_require_notify_alone(notify)).encode("ascii")


def decode_original_recipient(value: bytes | None) -> OriginalRecipient:
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
    if type_name.lower() == "rfc822" and (text := _as_utf8(decode_xtext(address))):
        # Postfix writes it so, and would return the message: 3.7 knows no other type.
        return OriginalRecipient("utf-8", text)
    return OriginalRecipient(type_name, _decode_printable(address, "ORCPT"))


def _as_utf8(octets: bytes) -> str | None:
    """Return the text of an address that is not ASCII; None if it is none."""
    if octets.isascii():
        return None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if has_line_control(text) else text


def encode_original_recipient(
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


# ----------------------------------------------------- what came after RFC 5321 and DSN


def decode_deliver_by(value: bytes | None) -> DeliverBy:
    """Decode by-value (RFC 2852 section 4)."""
    octets = _require_value(value, "BY")
    match = _BY_VALUE.fullmatch(octets)
    if match is None:
        raise BadParameter(f"bad BY value: {escape_octets(octets)}")
    mode = _decode_choice(match[2], "BY", _BY_MODES)
    return _require_by(DeliverBy(int(match[1]), mode, bool(match[3])))


def encode_deliver_by(deliver_by: DeliverBy, _context: EncodeContext) -> bytes:
    """Encode by-value."""
    _require_by(deliver_by)
    trace = "T" if deliver_by.is_traced else ""
    return f"{deliver_by.seconds};{deliver_by.mode}{trace}".encode("ascii")


def _require_by(deliver_by: DeliverBy) -> DeliverBy:
    """Refuse times out of range (RFC 2852 section 4)."""
    least = 1 if deliver_by.mode is ByMode.RETURN else -MAX_SECONDS
    if not least <= deliver_by.seconds <= MAX_SECONDS:
        raise BadParameter(f"BY={deliver_by.seconds};{deliver_by.mode} is out of range")
    return deliver_by


def decode_mt_priority(value: bytes | None) -> int:
    """Decode priority-value (RFC 6710 section 7)."""
    octets = _require_value(value, "MT-PRIORITY")
    if _PRIORITY.fullmatch(octets) is None:
        raise BadParameter(f"bad MT-PRIORITY value: {escape_octets(octets)}")
    return int(octets)


def encode_mt_priority(priority: int, _context: EncodeContext) -> bytes:
    """Encode priority-value."""
    if not -9 <= priority <= 9:
        raise BadParameter(f"bad MT-PRIORITY value: {priority}")
    return b"%d" % priority


def decode_date_time(octets: bytes, keyword: str) -> datetime:
    """Decode an RFC 3339 date-time to UTC."""
    match = _DATE_TIME.fullmatch(octets)
    if match is None:
        raise BadParameter(f"bad {keyword} value: {escape_octets(octets)}")
    leap = timedelta(0)
    if match[1] == b"60":  # a leap second, of which datetime knows nothing
        start, end = match.span(1)
        octets, leap = octets[:start] + b"59" + octets[end:], timedelta(seconds=1)
    try:
        time = datetime.fromisoformat(octets.decode("ascii").upper())
        return time.astimezone(UTC) + leap
    except (ValueError, OverflowError):
        raise BadParameter(f"bad {keyword} value: {escape_octets(octets)}") from None


def encode_date_time(time: datetime, keyword: str, timespec: str) -> bytes:
    """Encode a point in time as an RFC 3339 date-time in UTC."""
    if time.utcoffset() is None:
        raise BadParameter(f"{keyword} needs a time with a time zone")
    try:
        in_utc = time.astimezone(UTC)
    except OverflowError:
        raise BadParameter(f"bad {keyword} value: {time}") from None
    return f"{in_utc.replace(tzinfo=None).isoformat(timespec=timespec)}Z".encode(
        "ascii"
    )


def decode_valid_since(value: bytes | None) -> ValidSince:
    """Decode the value of RRVS (RFC 7293 section 3.1)."""
    octets = _require_value(value, "RRVS")
    time, semicolon, action = octets.partition(b";")
    if b"." in time:  # time-secfrac is excluded by name
        raise BadParameter(f"bad RRVS value: {escape_octets(octets)}")
    since = decode_date_time(time, "RRVS")
    if not semicolon:
        return ValidSince(since)
    return ValidSince(since, _decode_choice(action, "RRVS", _ACTIONS))


def encode_valid_since(valid_since: ValidSince, _context: EncodeContext) -> bytes:
    """Encode the value of RRVS."""
    time = encode_date_time(valid_since.since, "RRVS", "seconds")
    if valid_since.action is NoSupportAction.REJECT:  # the default
        return time
    return time + b";" + valid_since.action.encode("ascii")


def decode_hold_for(value: bytes | None) -> int:
    """Decode future-release-interval (RFC 4865 section 3)."""
    octets = _require_value(value, "HOLDFOR")
    if _HOLD_FOR.fullmatch(octets) is None:
        raise BadParameter(f"bad HOLDFOR value: {escape_octets(octets)}")
    return int(octets)


def encode_hold_for(seconds: int, _context: EncodeContext) -> bytes:
    """Encode future-release-interval."""
    if not 1 <= seconds <= MAX_SECONDS:
        raise BadParameter(f"bad HOLDFOR value: {seconds}")
    return b"%d" % seconds


def decode_hold_until(value: bytes | None) -> datetime:
    """Decode future-release-date-time (RFC 4865 section 3), which must be in UTC."""
    octets = _require_value(value, "HOLDUNTIL")
    if not octets.upper().endswith((b"Z", b"+00:00", b"-00:00")):
        raise BadParameter(f"HOLDUNTIL is not in UTC: {escape_octets(octets)}")
    return decode_date_time(octets, "HOLDUNTIL")


def encode_hold_until(time: datetime, _context: EncodeContext) -> bytes:
    """Encode future-release-date-time."""
    return encode_date_time(time, "HOLDUNTIL", "auto")


def require_solicit(text: str) -> str:
    """Refuse what are no Solicitation-keywords (RFC 3865 section 2.2)."""
    if len(text) > MAX_SOLICIT_CHARACTERS or _SOLICIT.fullmatch(text) is None:
        raise BadParameter(f"bad SOLICIT value: {text[:100]!a}")
    return text


def decode_solicit(value: bytes | None) -> tuple[str, ...]:
    """Decode Solicitation-keywords (RFC 3865 section 2.2)."""
    text = _require_value(value, "SOLICIT").decode("latin-1")
    return tuple(require_solicit(text).split(","))


def encode_solicit(keywords: tuple[str, ...], _context: EncodeContext) -> bytes:
    """Encode Solicitation-keywords."""
    return require_solicit(",".join(keywords)).encode("ascii")


def decode_xoorg(value: bytes | None) -> str:
    """Decode the value of XOORG, which is xtext."""
    return _decode_printable(_require_value(value, "XOORG"), "XOORG")


def encode_xoorg(organization: str, _context: EncodeContext) -> bytes:
    """Encode the value of XOORG."""
    return _encode_printable(organization, "XOORG")
