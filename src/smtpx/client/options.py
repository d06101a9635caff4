"""What a client may be told: where to connect, how, as whom, and for how long.

Everything has a safe default. Each option that loosens one says so in its name, so a
search for it finds where.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from enum import StrEnum, unique
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote

from smtpx.net.proxies import Proxy
from smtpx.wire.extensions import DEFAULT_REGISTRY, Registry
from smtpx.wire.octets import has_line_control
from smtpx.wire.reply_decoder import DEFAULT_REPLY_LIMITS, ReplyLimits

if TYPE_CHECKING:
    import ssl

    from smtpx.net.dns import Resolver
    from smtpx.wire.forwarded import XClient
    from smtpx.wire.preamble import ProxyHeader

__all__ = [
    "DEFAULT_OPTIONS",
    "Auth",
    "Chunking",
    "ClientOptions",
    "Secret",
    "TLSMode",
    "Target",
    "Timeouts",
    "parse_url",
]


@unique
class TLSMode(StrEnum):
    """When a connection turns to TLS."""

    NEVER = "never"
    """In clear, whatever the server offers."""

    OPPORTUNISTIC = "opportunistic"
    """STARTTLS when offered. It stops listeners on the path, but none who interfere."""

    REQUIRED = "required"
    """STARTTLS, or nothing is sent (RFC 3207)."""

    IMPLICIT = "implicit"
    """TLS from the first octet (RFC 8314 section 3.3)."""


@unique
class Chunking(StrEnum):
    """When a message is sent with BDAT rather than DATA (RFC 3030)."""

    AUTO = "auto"
    """When offered, and either it saves a round trip or the body is BINARYMIME."""

    ALWAYS = "always"
    """Whenever it is offered."""

    NEVER = "never"
    """Not even for BINARYMIME, which then cannot be sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait, in seconds; None waits for ever.

    The defaults are the least that RFC 5321 section 4.5.3.2 allows, and where it says
    nothing, those of Postfix. Each is for the whole reply, so a server that sends one
    octet at a time gains nothing by it.

    Attributes:
        connect: to make the connection; for all addresses of the host together.
        tls: for a TLS handshake.
        greeting: for the 220.
        command: for the reply to EHLO and all commands not named here.
        mail: for the reply to MAIL.
        rcpt: for the reply to each RCPT.
        data_start: for the 354 to DATA.
        data_block: for each write to be taken, commands and content.
        data_end: for the reply to the end of the message. A message whose reply was
            not waited for may be delivered twice (RFC 1047), so it is long.
        quit: for the reply to QUIT, on which nothing depends.
        total: for a whole call, such as `send`, connecting included if it does.

    Raises:
        ValueError: one is not positive.
    """

    connect: float | None = 30.0
    tls: float | None = 60.0
    greeting: float | None = 300.0
    command: float | None = 300.0
    mail: float | None = 300.0
    rcpt: float | None = 300.0
    data_start: float | None = 120.0
    data_block: float | None = 180.0
    data_end: float | None = 600.0
    quit: float | None = 5.0
    total: float | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not value > 0:
                raise ValueError(f"timeout {item.name} must be positive, not {value}")


Secret: TypeAlias = str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A password or token, or a function or coroutine function that returns it."""


@dataclass(frozen=True, slots=True)
class Auth:
    """Whom to authenticate as, and with what.

    With a password, mechanisms that take one are tried: SCRAM, PLAIN, LOGIN. With a
    token, OAUTHBEARER and XOAUTH2. With neither, EXTERNAL: the client certificate, or
    what else the server sees, says who you are.

    Attributes:
        user: the authentication identity.
        password: it, or what returns it; asked at each connect.
        authorize_as: act as another user (RFC 4616 section 2); empty: as oneself.
        mechanisms: what to try, in order; None: all that fit, the best first. To be
            named here are CRAM-MD5, ANONYMOUS, and those that bind the TLS channel:
            SCRAM-SHA-256-PLUS and SCRAM-SHA-1-PLUS.
        token: an OAuth access token in place of a password, or what returns it.

    Raises:
        ValueError: both a password and a token are given.

    >>> Auth("user", "secret")
    Auth(user='user', authorize_as='', mechanisms=None)
    >>> Auth("user@example.com", token="vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    Auth(user='user@example.com', authorize_as='', mechanisms=None)
    """

    user: str
    password: Secret = field(default="", repr=False)
    authorize_as: str = ""
    mechanisms: tuple[str, ...] | None = None
    token: Secret | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is not None and self.password != "":
            raise ValueError("give a password or a token, not both")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Options of a client.

    Attributes:
        tls: when to turn to TLS; by default what the URL says.
        tls_context: by default certificates and names are verified against the
            authorities of the system. Make one with `smtpx.net.tls.client_context`.
        server_hostname: the name in the server's certificate, if it is not the one
            connected to.
        hello_name: for EHLO; by default this host's full name, or else its address.
        local_address: the IP address to connect from.
        resolver: looks up names, and MX records; by default the system does the one,
            and dnspython with the system's name servers the other. See
            `smtpx.DNSResolver` and `smtpx.AsyncDNSResolver`.
        proxy: URL of a proxy to connect through: ``socks5://host`` or ``http://host``,
            maybe with ``user:password@``. It looks up the name of the server.
        proxy_header: to be sent when a connection is made, before TLS: it tells a
            server that trusts this host whom it speaks for.
        xclient: to be told by XCLIENT on each connection, before authentication: the
            same, for a server that takes it from this host.
        timeouts: of each phase.
        mechanisms: of authentication, in the order to be tried.
        allow_plaintext_auth: also send passwords without TLS to other hosts. Anybody
            on the path reads them.
        trust_loopback: loopback and unix sockets need no TLS for passwords.
        pipelining: send commands in flights if the server offers it (RFC 2920).
        chunking: when to use BDAT.
        allow_undeclared_content: send 8-bit content and UTF-8 header fields also to a
            server that offers neither 8BITMIME nor SMTPUTF8. It may damage them.
        sign: gets each message in the form in which it goes out, and returns header
            fields to put before it, such as `DKIMSigner` does. Messages have to be in
            memory: a signature goes first and covers all.
        long_lines: send lines of more than 998 octets as they are. Servers refuse
            them, or break them, which voids signatures.
        registry: of the extensions whose parameters MAIL and RCPT may have.
        reply_limits: on what the server says.
        wire_log: gets every line that passes, secrets hidden.

    Raises:
        ValueError: `proxy` is no URL of a proxy, or `local_address` no IP address.
    """

    tls: TLSMode | None = None
    tls_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    hello_name: str | None = None
    local_address: str | None = None
    resolver: Resolver | None = None
    proxy: str | None = field(default=None, repr=False)
    proxy_header: ProxyHeader | None = None
    xclient: XClient | None = None
    timeouts: Timeouts = Timeouts()
    mechanisms: tuple[str, ...] | None = None
    allow_plaintext_auth: bool = False
    trust_loopback: bool = True
    pipelining: bool = True
    chunking: Chunking = Chunking.AUTO
    allow_undeclared_content: bool = False
    sign: Callable[[bytes], bytes] | None = None
    long_lines: bool = False
    registry: Registry = DEFAULT_REGISTRY
    reply_limits: ReplyLimits = DEFAULT_REPLY_LIMITS
    wire_log: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        if self.proxy is not None:
            Proxy.parse(self.proxy)
        if self.local_address is not None:
            ip_address(self.local_address)


DEFAULT_OPTIONS: Final = ClientOptions()


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect, and what is spoken there.

    Attributes:
        host: a name or an IP address without brackets; empty for a unix socket.
        port: of TCP.
        path: of a unix socket.
        tls: when to turn to TLS.
        is_lmtp: LMTP is spoken (RFC 2033).
        is_mx: the host is a domain; its mail exchangers are meant.
        user: from the URL, None if it names none.
        password: likewise.
    """

    host: str = ""
    port: int = 0
    path: str | None = None
    tls: TLSMode = TLSMode.NEVER
    is_lmtp: bool = False
    is_mx: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"the MX of {self.host}" if self.is_mx else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class _Scheme:
    """A row of the table: what a URL's scheme stands for; no TLS: it depends."""

    port: int
    tls: TLSMode | None
    is_lmtp: bool = False
    is_unix: bool = False
    is_mx: bool = False


# RFC 5321 section 4.5.4.2: 25; RFC 6409 section 3.1: 587; RFC 8314 section 7.3: 465.
# RFC 2033 section 5 forbids 25 for LMTP; 24, for any private mail system, is common.
_SCHEMES: Final = {
    "smtp": _Scheme(25, None),
    "smtps": _Scheme(465, TLSMode.IMPLICIT),
    "smtp+starttls": _Scheme(587, TLSMode.REQUIRED),
    "smtp+plain": _Scheme(25, TLSMode.NEVER),
    "smtp+mx": _Scheme(25, TLSMode.OPPORTUNISTIC, is_mx=True),
    "smtp+unix": _Scheme(0, TLSMode.NEVER, is_unix=True),
    "lmtp": _Scheme(24, TLSMode.OPPORTUNISTIC, is_lmtp=True),
    "lmtp+unix": _Scheme(0, TLSMode.NEVER, is_lmtp=True, is_unix=True),
}

# What smtp:// means by port; elsewhere, STARTTLS when offered.
_TLS_BY_PORT: Final = {465: TLSMode.IMPLICIT, 587: TLSMode.REQUIRED}

_AUTHORITY = re.compile(
    r"(?:(?P<user>[^:@]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<literal>[^\]]+)\]|(?P<host>[^:@/\[\]\s]+)|(?P<bare>[0-9A-Fa-f:.]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


def parse_url(url: str, *, default_scheme: str = "smtp") -> Target:
    """Parse where to connect.

    Args:
        url: one of

            - ``smtp://host``: port 25. STARTTLS when offered; required on port 587;
              TLS from the start on port 465.
            - ``smtps://host``: port 465, TLS from the start.
            - ``smtp+starttls://host``: port 587, STARTTLS required.
            - ``smtp+plain://host``: port 25, never TLS.
            - ``smtp+mx://domain``: port 25 of the hosts that take the domain's mail,
              one after another; STARTTLS when offered.
            - ``lmtp://host``: port 24.
            - ``lmtp+unix:///path``, ``smtp+unix:///path``: a unix socket.
            - ``host`` or ``host:port``: as with the default scheme.

            A host may be an IPv6 address in brackets; ``user:password@`` may stand
            before it, percent-encoded.
        default_scheme: ``smtp`` or ``lmtp``.

    Returns:
        The target.

    Raises:
        ValueError: it is none of them. The text shows no password.

    >>> parse_url("smtp://mail.example.com:587").tls
    <TLSMode.REQUIRED: 'required'>
    >>> str(parse_url("smtps://[2001:db8::1]"))
    '[2001:db8::1]:465'
    >>> parse_url("lmtp+unix:///run/dovecot/lmtp").path
    '/run/dovecot/lmtp'
    """
    if has_line_control(url):
        raise ValueError("the URL holds a control character")
    name, separator, rest = url.partition("://")
    if not separator:
        name, rest = default_scheme, url
    scheme = _SCHEMES.get(name.lower())
    if scheme is None:
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise ValueError(f"the URL starts with none of {known}")
    if scheme.is_unix:
        path = unquote(rest)
        if not path.startswith("/"):
            raise ValueError(f"write {name}:///path/of/the/socket, with three slashes")
        return Target(path=path, tls=TLSMode.NEVER, is_lmtp=scheme.is_lmtp)
    return _parse_authority(rest.removesuffix("/"), scheme)


def _what_is_wrong(text: str) -> str:
    """Say why no host, port and login can be made of a text, and show no password."""
    login, _, rest = text.rpartition("@")
    if "@" in login:
        return "there is more than one @: in a user or password it is written %40"
    # Without a host it might be a password that stands behind the colon.
    host, colon, _ = rest.partition(":")
    if not host:
        return "there is no host: write smtp://host or smtp://host:port"
    if "/" in rest:
        return f"nothing follows host and port: write {host.partition('/')[0]!r} alone"
    if colon and not host.startswith("["):
        return f"what follows '{host}:' is no port, a number from 1 to 65535"
    return (
        f"not a host with an optional port: it begins with {host!r}; "
        "an IPv6 address stands in brackets"
    )


def _parse_authority(text: str, scheme: _Scheme) -> Target:
    """Parse what stands between ``//`` and the path (RFC 3986 section 3.2)."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ValueError(_what_is_wrong(text))
    port = scheme.port if match["port"] is None else int(match["port"])
    if not 1 <= port <= 65_535:
        raise ValueError(f"a port is 1 to 65535, not {port}")
    tls = scheme.tls
    if tls is None:
        tls = _TLS_BY_PORT.get(port, TLSMode.OPPORTUNISTIC)
    literal = match["literal"] or match["bare"]
    if literal is not None:
        ip_address(literal)  # raises ValueError
    return Target(
        host=literal or match["host"],
        port=port,
        tls=tls,
        is_lmtp=scheme.is_lmtp,
        is_mx=scheme.is_mx,
        user=None if match["user"] is None else unquote(match["user"]),
        password=None if match["password"] is None else unquote(match["password"]),
    )
