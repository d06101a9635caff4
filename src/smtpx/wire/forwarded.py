r"""XCLIENT and XFORWARD: what a gateway tells of the client it speaks for (Postfix).

XCLIENT overrides what the server knows of the client, for the rest of the session;
XFORWARD tells where one message came from, for logs. Postfix's XCLIENT_README and
XFORWARD_README specify them. Both are commands with attributes, each ``NAME=value`` in
xtext (RFC 3461 section 4); a class has a field for each attribute.

>>> command = XClient(addr="2001:db8::1", name=Unknown.UNAVAILABLE, login="bob smith")
>>> command.encode()
b'XCLIENT NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1 LOGIN=bob+20smith\r\n'
>>> parse_xclient(b"ADDR=192.0.2.1 PORT=40112").addr
'192.0.2.1'
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, unique
from ipaddress import IPv6Address, ip_address
from typing import Any, ClassVar, Final, TypeAlias

from smtpx.errors import BadParameter, BadSyntax
from smtpx.wire.domains import parse_hello_name
from smtpx.wire.octets import (
    decode_xtext,
    encode_xtext,
    escape_octets,
    has_line_control,
    require_safe,
)

__all__ = [
    "NOTHING_FORWARDED",
    "XCLIENT_ATTRIBUTES",
    "XFORWARD_ATTRIBUTES",
    "ForwardedSource",
    "Unknown",
    "XClient",
    "XForward",
    "parse_xclient",
    "parse_xforward",
]

MAX_VALUE_OCTETS: Final = 255
"""Of a value in xtext (XFORWARD_README, note 1; Postfix holds XCLIENT to it too)."""

MAX_LINE_OCTETS: Final = 512
"""Of a command that a client sends, with its CRLF (note 1 and note 2)."""

MAX_PROTO_OCTETS: Final = 64
"""Of PROTO in XFORWARD."""


@unique
class Unknown(Enum):
    """That a gateway does not know something, which is more than not telling."""

    UNAVAILABLE = "[UNAVAILABLE]"
    """Not known, or there is none."""

    TEMPUNAVAIL = "[TEMPUNAVAIL]"
    """A name that could not be looked up for now."""


@unique
class ForwardedSource(StrEnum):
    """Where a message came from, seen from the gateway."""

    LOCAL = "LOCAL"
    REMOTE = "REMOTE"


_Value: TypeAlias = str | int | Unknown


@dataclass(frozen=True, slots=True)
class _Attribute:
    """A row of a table: how the value of an attribute is read from decoded text."""

    parse: Callable[[str], _Value]
    unknown: frozenset[Unknown] = frozenset({Unknown.UNAVAILABLE})


# Lenient: underscores, as Postfix takes them. A name of digits alone is an address.
_HOST_NAME = re.compile(
    r"(?=.{1,255}\Z)(?![0-9.]+\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    r"(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*",
    re.ASCII,
)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def _parse_host_name(text: str) -> str:
    if _HOST_NAME.fullmatch(text) is None:
        raise BadParameter("that is no host name")
    return text


def _parse_address(text: str) -> str:
    """Parse an address; the same one is always written the same."""
    # Lenient: an IPv6 address without its prefix, as Postfix takes it.
    has_prefix = text[:5].upper() == "IPV6:"
    try:
        ip = ip_address(text[5:] if has_prefix else text)
    except ValueError:
        raise BadParameter("that is no IP address") from None
    if not isinstance(ip, IPv6Address):
        if has_prefix:
            raise BadParameter("that is no IPv6 address")
        return str(ip)
    if ip.scope_id is not None:
        raise BadParameter("a zone means nothing elsewhere")
    return str(ip.ipv4_mapped or ip)


def _parse_port(text: str) -> int:
    if _PORT.fullmatch(text) is None or int(text) > 65_535:
        raise BadParameter("that is no port")
    return int(text)


def _parse_word(text: str) -> str:
    """Parse what may be any word: clients call themselves what they like."""
    try:
        return parse_hello_name(text.encode("utf-8"), lenient=True)
    except BadSyntax as error:
        raise BadParameter(error.text) from None


def _parse_proto(text: str) -> str:
    if len(text) > MAX_PROTO_OCTETS:
        raise BadParameter(f"a protocol has at most {MAX_PROTO_OCTETS} octets")
    return _parse_word(text)


def _parse_esmtp(text: str) -> str:
    # Lenient: LMTP, which gateways before an LMTP server say.
    if text.upper() not in {"SMTP", "ESMTP", "LMTP"}:
        raise BadParameter("the protocols are SMTP and ESMTP")
    return text.upper()


def _parse_source(text: str) -> ForwardedSource:
    try:
        return ForwardedSource(text.upper())
    except ValueError:
        raise BadParameter("a source is LOCAL or REMOTE") from None


def _same(text: str) -> str:
    return text


_NAME = _Attribute(_parse_host_name, frozenset(Unknown))
_ADDR = _Attribute(_parse_address)
_PORT_NUMBER = _Attribute(_parse_port)
_HELO = _Attribute(_parse_word)

# In the order in which they are sent. The keys in lower case are the fields.
_XCLIENT: Final[Mapping[str, _Attribute]] = {
    "NAME": _NAME,
    "REVERSE_NAME": _NAME,
    "ADDR": _ADDR,
    "PORT": _PORT_NUMBER,
    "PROTO": _Attribute(_parse_esmtp, frozenset()),
    "HELO": _HELO,
    "LOGIN": _Attribute(_same),
    "DESTADDR": _ADDR,
    "DESTPORT": _PORT_NUMBER,
}
_XFORWARD: Final[Mapping[str, _Attribute]] = {
    "NAME": _Attribute(_parse_word),
    "ADDR": _ADDR,
    "PORT": _PORT_NUMBER,
    "PROTO": _Attribute(_parse_proto),
    "HELO": _HELO,
    "IDENT": _Attribute(_parse_word),
    "SOURCE": _Attribute(_parse_source),
}

XCLIENT_ATTRIBUTES: Final = tuple(_XCLIENT)
"""Their names, as EHLO lists them."""

XFORWARD_ATTRIBUTES: Final = tuple(_XFORWARD)
"""Their names, as EHLO lists them."""


class _Attributes:
    """What XCLIENT and XFORWARD have in common."""

    __slots__ = ()

    verb: ClassVar[str]
    _table: ClassVar[Mapping[str, _Attribute]]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the attributes that are told."""
        return tuple(
            name for name in self._table if getattr(self, name.lower()) is not None
        )

    @property
    def argument(self) -> str:
        """What stands behind the verb, be it too long to be sent.

        Raises:
            BadParameter: a value is none that the attribute can have.
        """
        return b" ".join(self._words()).decode("ascii")

    def _words(self) -> list[bytes]:
        return [
            b"%b=%b" % (name.encode("ascii"), self._encode_value(name))
            for name in self.names
        ]

    def _encode_value(self, name: str) -> bytes:
        row, value = self._table[name], getattr(self, name.lower())
        if isinstance(value, Unknown):
            if value not in row.unknown:
                raise BadParameter(f"{name} cannot be {value.value}")
            return value.value.encode("ascii")
        try:
            # What a server would read, so that nothing is told that means another.
            parsed = _parse_value(row, str(value))
            octets = str(parsed).encode("utf-8")
        except (BadParameter, UnicodeEncodeError) as error:
            raise BadParameter(f"{name} cannot be {value!a}: {error}") from None
        if isinstance(parsed, Unknown):
            raise BadParameter(f"{name} cannot be {value!a}: use Unknown")
        if row.parse is _parse_address and b":" in octets:
            octets = b"IPV6:" + octets
        return encode_xtext(octets)

    def encode(self) -> bytes:
        """Write the line with its CRLF.

        Raises:
            BadParameter: a value is none that the attribute can have, there is no
                attribute, or one or all are too long.
        """
        words = self._words()
        if not words:
            raise BadParameter(f"{self.verb} needs an attribute")
        for word in words:
            name, _, value = word.partition(b"=")
            if len(value) > MAX_VALUE_OCTETS:
                raise BadParameter(f"{name.decode()} is over {MAX_VALUE_OCTETS} octets")
        line = b" ".join([self.verb.encode(), *words]) + b"\r\n"
        if len(line) > MAX_LINE_OCTETS:
            raise BadParameter(
                f"{self.verb} is over {MAX_LINE_OCTETS} octets: tell it in two, "
                "with NAME and ADDR in the last"
            )
        return require_safe(line[:-2], f"{self.verb} command") + b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class XClient(_Attributes):
    r"""XCLIENT: who the client is that the gateway speaks for (XCLIENT_README).

    An attribute that is None is not told.

    Attributes:
        name: the client's host name; TEMPUNAVAIL if it cannot be looked up now.
        reverse_name: what its address says that name is, verified or not.
        addr: its IP address.
        port: its TCP port.
        proto: ``SMTP`` or ``ESMTP``: whether it said HELO or EHLO.
        helo: the name it gave with that.
        login: whom it authenticated as with the gateway.
        destaddr: the IP address that it connected to.
        destport: the port of that.

    >>> XClient(addr="192.0.2.1", helo="[192.0.2.1]", proto="ESMTP").encode()
    b'XCLIENT ADDR=192.0.2.1 PROTO=ESMTP HELO=[192.0.2.1]\r\n'
    """

    verb: ClassVar[str] = "XCLIENT"
    _table: ClassVar[Mapping[str, _Attribute]] = _XCLIENT

    name: str | Unknown | None = None
    reverse_name: str | Unknown | None = None
    addr: str | Unknown | None = None
    port: int | Unknown | None = None
    proto: str | None = None
    helo: str | Unknown | None = None
    login: str | Unknown | None = None
    destaddr: str | Unknown | None = None
    destport: int | Unknown | None = None

    def followed_by(self, later: XClient) -> XClient:
        """Return what holds after a further XCLIENT in the same session.

        The protocol, the HELO name and the login are of the session that begins with
        the last one; the rest stays until it is told again.

        Args:
            later: the further one.
        """
        kept = replace(self, proto=None, helo=None, login=None)
        return replace(
            kept, **{name.lower(): getattr(later, name.lower()) for name in later.names}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class XForward(_Attributes):
    r"""XFORWARD: where a message came from, for logs (XFORWARD_README).

    An attribute that is None is not told.

    Attributes:
        name: the host's name, not always one of the DNS.
        addr: its IP address.
        port: its TCP port.
        proto: the protocol that the message came by, such as ``ESMTP``.
        helo: what the host called itself.
        ident: what the gateway calls the message, such as a queue id.
        source: whether it came from the gateway's own host or network.

    >>> XForward(addr="192.0.2.1", source=ForwardedSource.REMOTE).encode()
    b'XFORWARD ADDR=192.0.2.1 SOURCE=REMOTE\r\n'
    """

    verb: ClassVar[str] = "XFORWARD"
    _table: ClassVar[Mapping[str, _Attribute]] = _XFORWARD

    name: str | Unknown | None = None
    addr: str | Unknown | None = None
    port: int | Unknown | None = None
    proto: str | Unknown | None = None
    helo: str | Unknown | None = None
    ident: str | Unknown | None = None
    source: ForwardedSource | Unknown | None = None

    def followed_by(self, later: XForward) -> XForward:
        """Return what holds after a further XFORWARD before the same message.

        Args:
            later: the further one.
        """
        return replace(
            self, **{name.lower(): getattr(later, name.lower()) for name in later.names}
        )

    def split(self) -> tuple[XForward, ...]:
        """Return commands that tell the same, each in a line of at most 512 octets.

        Raises:
            BadParameter: a value is none that the attribute can have, or there is no
                attribute.
        """
        parts: list[list[str]] = []
        room = 0
        for name, word in zip(self.names, self._words(), strict=True):
            if len(word) + 1 > room:
                parts.append([])
                room = MAX_LINE_OCTETS - len("XFORWARD\r\n")
            parts[-1].append(name.lower())
            room -= len(word) + 1
        if not parts:
            raise BadParameter("XFORWARD needs an attribute")
        return tuple(
            XForward(**{field: getattr(self, field) for field in part})
            for part in parts
        )


NOTHING_FORWARDED: Final = XForward(
    name=Unknown.UNAVAILABLE,
    addr=Unknown.UNAVAILABLE,
    port=Unknown.UNAVAILABLE,
    proto=Unknown.UNAVAILABLE,
    helo=Unknown.UNAVAILABLE,
    ident=Unknown.UNAVAILABLE,
    source=Unknown.UNAVAILABLE,
)
"""What a first XFORWARD begins with (XFORWARD_README, server operation)."""


def _parse_value(row: _Attribute, text: str) -> _Value:
    # Lenient: in any case, as both documents have it.
    for unknown in row.unknown:
        if text.upper() == unknown.value:
            return unknown
    if not text or has_line_control(text):
        raise BadParameter("a value is text without control characters")
    return row.parse(text)


def _parse_attributes(
    argument: bytes, table: Mapping[str, _Attribute]
) -> dict[str, Any]:
    """Parse ``1*( SP attribute-name "=" attribute-value )``."""
    values: dict[str, Any] = {}
    for word in filter(None, argument.split(b" ")):
        name, _, octets = word.partition(b"=")
        row = table.get(name.decode("latin-1").upper())
        if row is None or not octets:
            raise BadParameter(f"no such attribute: {escape_octets(word, 80)}")
        if len(octets) > MAX_VALUE_OCTETS:
            raise BadParameter(f"a value has at most {MAX_VALUE_OCTETS} octets")
        field = name.decode("ascii").lower()
        if field in values:
            raise BadParameter(f"{field.upper()} is told twice")
        try:
            values[field] = _parse_value(row, _decode_value(octets))
        except BadParameter as error:
            shown = escape_octets(word, 80)
            raise BadParameter(f"bad {field.upper()}: {error.text}: {shown}") from None
    if not values:
        raise BadParameter("an attribute is needed: NAME=value")
    return values


def _decode_value(octets: bytes) -> str:
    # Lenient: Postfix before 2.3 and others send values as they are, which shows where
    # one holds a plus sign or an equals sign.
    with contextlib.suppress(BadParameter):
        octets = decode_xtext(octets)
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadParameter("not UTF-8") from None


def parse_xclient(argument: bytes) -> XClient:
    """Parse the argument of XCLIENT.

    Args:
        argument: what follows the verb and its space.

    Raises:
        BadParameter: 501 5.5.4.

    >>> parse_xclient(b"name=[unavailable] proto=esmtp").names
    ('NAME', 'PROTO')
    """
    return XClient(**_parse_attributes(argument, _XCLIENT))


def parse_xforward(argument: bytes) -> XForward:
    """Parse the argument of XFORWARD.

    Args:
        argument: what follows the verb and its space.

    Raises:
        BadParameter: 501 5.5.4.

    >>> parse_xforward(b"IDENT=4XkQ2 SOURCE=LOCAL").ident
    '4XkQ2'
    """
    return XForward(**_parse_attributes(argument, _XFORWARD))
