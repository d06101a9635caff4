"""How a server is set up: one frozen object, safe and strict by default."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from smtpx.core.limits import DEFAULT_LIMITS, Limits
from smtpx.sasl.registry import DEFAULT_SERVER_MECHANISMS, SERVER_MECHANISMS
from smtpx.sasl.scram_keys import DEFAULT_ITERATIONS
from smtpx.server.events import EventSink
from smtpx.server.networks import Networks, TrustedNetworks, check_prefix_bits
from smtpx.wire.extensions import DEFAULT_REGISTRY, ExtensionSettings, Registry
from smtpx.wire.framing import BareNewline

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from smtpx.net.certificates import ServerTLS
    from smtpx.sasl.mechanism import ServerMechanism
    from smtpx.server.delays import ErrorDelay, GreetingDelay
    from smtpx.server.guards import Guard

__all__ = ["ServerOptions", "ServerTimeouts"]

# What only those may say whom the options name.
_OF_GATEWAYS = frozenset({"XCLIENT", "XFORWARD"})

# As long as the hash that it keys.
_SECRET_OCTETS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTimeouts:
    """How long a server waits, in seconds. None: for ever.

    Attributes:
        command: for the next command: 5 minutes (RFC 5321 section 4.5.3.2.7).
        body: for the next octets of a message: 3 minutes, what section 4.5.3.2.5
            grants one block. A slow upload that moves lives on.
        handler: for one hook, and for ``data`` after the last octet it was waiting
            for: the 10 minutes after which clients give up (section 4.5.3.2.6).
        session: for a whole session. A day; longer than any queue run lasts.
        handshake: for TLS; asyncio's own default.
        proxy_header: for a PROXY header: 5 seconds are Postfix's
            ``smtpd_upstream_proxy_timeout``; its specification wants 3 at the least.
        linger: for the client to read the last reply before the connection is reset.

    Raises:
        ValueError: a time is not positive.
    """

    command: float | None = 300.0
    body: float | None = 180.0
    handler: float | None = 600.0
    session: float | None = 86_400.0
    handshake: float = 60.0
    proxy_header: float = 5.0
    linger: float = 5.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and value <= 0:
                message = f"timeout {item.name} must be over 0 seconds, not {value}"
                raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The settings of a server.

    Attributes:
        hostname: what the server calls itself; empty: the name of the machine.
        lmtp: speak LMTP (RFC 2033) in place of SMTP.
        lmtp_too: take LMTP beside SMTP: the client's first greeting, LHLO or EHLO,
            tells which of them a session is. By default each refuses the greeting of
            the other, which is how a client finds that it talks to the wrong port
            (RFC 2033 section 4.1).
        tls: certificate and rules of TLS, for STARTTLS and implicit TLS alike: a
            context, which is never changed, or a `ServerTLS`, which can have several
            certificates and be reloaded.
        implicit_tls: TLS from the first octet (RFC 8314 section 3); else STARTTLS.
        require_tls: refuse all but EHLO, NOOP, STARTTLS and QUIT in plaintext.
        require_tls_for_auth: refuse AUTH in plaintext, also by mechanisms that show no
            password. What ``local_plaintext_auth`` allows is allowed.
        plaintext_networks: clients that may do without TLS what others may not: show a
            password, use AUTH, or anything. Networks in which nobody listens.
        require_auth: refuse MAIL before authentication.
        auth_mechanisms: the SASL mechanisms to offer, in this order, when the session
            class can answer them: when it overrides ``check_password``,
            ``scram_credentials`` and so on. By default all but SCRAM-SHA-1 and those
            that bind the TLS channel, with names in -PLUS.
        extra_mechanisms: mechanisms of your own by name, offered after these.
        auth_secret: random octets that key what is made up for users who do not exist.
            Give the same to all processes, and after a restart, or what is made up
            changes and so gives itself away.
        scram_iterations: that the users' SCRAM credentials were made with; those who
            do not exist have the same.
        plaintext_auth: names of mechanisms that show a password and may be used
            without TLS by anybody. Dangerous.
        local_plaintext_auth: the same for clients on loopback and unix sockets only,
            where nobody listens.
        smtputf8: offer SMTPUTF8 (RFC 6531): your sessions handle UTF-8 addresses.
        binarymime: offer BINARYMIME (RFC 3030): your sessions handle any octets.
        dsn: offer DSN (RFC 3461): your sessions send what it asks for.
        extensions: keywords of other extensions to offer, which your sessions honour:
            ``REQUIRETLS``, ``RRVS``, ``DELIVERBY``, ``MT-PRIORITY``, ``FUTURERELEASE``
            (for submission only), ``NO-SOLICITING``, ``XOORG``, and those that you
            registered. ``VRFY``, ``EXPN`` and ``ETRN`` come with their hooks.
        extension_settings: what those say that have something to say.
        registry: the extensions there are, with those that you registered.
        limits: what a client may use.
        timeouts: how long to wait.
        bare_newline: what to do with a bare CR or LF in a message.
        lenient_paths: take a path without brackets, or with a space before it.
        max_connections: at the same time, in all. A process has 1,024 descriptors by
            default on most systems.
        max_connections_per_ip: at the same time from one address; 50 is Postfix's
            ``smtpd_client_connection_count_limit``.
        max_connections_per_network: at the same time from one network, whose size the
            next two tell. 200: it takes five networks to fill a server.
        ipv4_prefix_bits: which IPv4 clients are one network: 24, what is routed in the
            Internet as the least.
        ipv6_prefix_bits: ... and IPv6 clients: 64, the least that a
            network has, so that all addresses that one host may take are one.
        proxy_networks: proxies that say for whom they speak in a PROXY header, of
            either version, before anything else: as ``192.0.2.0/24`` or ``unix:``,
            clients on unix sockets. Their connections must begin with one; of others it
            is never read. Whoever is in one of them can be anybody.
        xclient_networks: gateways that may say for whom they speak, with XCLIENT.
            To others it is not offered. The same goes for them.
        xforward_networks: gateways that may say where a message came from, with
            XFORWARD.
        unlimited_networks: clients to whom no limit on connections applies, but that in
            all, whom nothing delays, and about whom no guard is asked. By default those
            of this machine; clients of unix sockets always are like these.
        greeting_delay: greet late, and refuse clients that talk before; by default not.
        error_delay: answer late what is refused; by default at once.
        guards: are asked about each client before its session is: `RateGuard`, and
            those that you write.
        read_ahead_octets: how much of a message is held for a handler that lags.
        backlog: connections that wait for ``accept``.
        wire_log: gets the id of a session and a line of its dialogue, secrets hidden.
        events: what gets every event of every session, one sink or several; see
            `smtpx.server.events`. Without any, no event is made.
    """

    hostname: str = ""
    lmtp: bool = False
    lmtp_too: bool = False
    tls: ssl.SSLContext | ServerTLS | None = None
    implicit_tls: bool = False
    require_tls: bool = False
    require_tls_for_auth: bool = False
    plaintext_networks: tuple[str, ...] = ()
    require_auth: bool = False
    auth_mechanisms: tuple[str, ...] = DEFAULT_SERVER_MECHANISMS
    extra_mechanisms: Mapping[str, type[ServerMechanism]] = field(default_factory=dict)
    auth_secret: bytes = field(
        default_factory=lambda: secrets.token_bytes(_SECRET_OCTETS), repr=False
    )
    scram_iterations: int = DEFAULT_ITERATIONS
    plaintext_auth: frozenset[str] = frozenset()
    local_plaintext_auth: bool = True
    smtputf8: bool = False
    binarymime: bool = False
    dsn: bool = False
    extensions: frozenset[str] = frozenset()
    extension_settings: ExtensionSettings = field(default_factory=ExtensionSettings)
    registry: Registry = DEFAULT_REGISTRY
    limits: Limits = DEFAULT_LIMITS
    timeouts: ServerTimeouts = field(default_factory=ServerTimeouts)
    bare_newline: BareNewline = BareNewline.REFUSE
    lenient_paths: bool = False
    max_connections: int = 1_000
    max_connections_per_ip: int = 50
    max_connections_per_network: int = 200
    ipv4_prefix_bits: int = 24
    ipv6_prefix_bits: int = 64
    proxy_networks: tuple[str, ...] = ()
    xclient_networks: tuple[str, ...] = ()
    xforward_networks: tuple[str, ...] = ()
    unlimited_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    greeting_delay: GreetingDelay | None = None
    error_delay: ErrorDelay | None = None
    guards: tuple[Guard, ...] = ()
    read_ahead_octets: int = 65_536
    backlog: int = 1_024
    wire_log: Callable[[str, str], None] | None = None
    events: EventSink | tuple[EventSink, ...] = ()

    def __post_init__(self) -> None:
        if self.lmtp and self.lmtp_too:
            message = "lmtp is in place of SMTP, lmtp_too beside it: choose one"
            raise ValueError(message)
        name = self.hostname
        if not (name.isascii() and name.isprintable() and " " not in name):
            # It begins every greeting, and a client takes the first word for it.
            message = f"hostname {name!r} is not one word of ASCII characters"
            raise ValueError(message)
        if self.tls is None and (
            self.implicit_tls or (self.require_tls and not self.plaintext_networks)
        ):
            message = "implicit_tls and require_tls need tls: an ssl.SSLContext"
            raise ValueError(message)
        # These raise ValueError on a wrong one, now and not later.
        Networks(self.unlimited_networks)
        Networks(self.plaintext_networks)
        TrustedNetworks(self.proxy_networks)
        TrustedNetworks(self.xclient_networks)
        TrustedNetworks(self.xforward_networks)
        check_prefix_bits(
            ipv4_bits=self.ipv4_prefix_bits, ipv6_bits=self.ipv6_prefix_bits
        )
        strange = {n.upper() for n in self.auth_mechanisms} - SERVER_MECHANISMS.keys()
        if strange:
            message = (
                f"no mechanism {', '.join(sorted(strange))} is known here: one of your "
                "own goes to extra_mechanisms"
            )
            raise ValueError(message)
        for keyword in _OF_GATEWAYS & self.enabled_extensions:
            message = (
                f"{keyword} for everybody would let anybody be anybody: "
                f"set {keyword.lower()}_networks"
            )
            raise ValueError(message)
        unknown = self.enabled_extensions - self.registry.keywords
        if unknown:
            message = f"the registry has no extension {', '.join(sorted(unknown))}"
            raise ValueError(message)

    @property
    def event_sinks(self) -> tuple[EventSink, ...]:
        """What gets the events; maybe nobody."""
        return self.events if isinstance(self.events, tuple) else (self.events,)

    @property
    def enabled_extensions(self) -> frozenset[str]:
        """The keywords of all extensions that were switched on."""
        switches = {
            "SMTPUTF8": self.smtputf8,
            "BINARYMIME": self.binarymime,
            "DSN": self.dsn,
        }
        keywords = {keyword.upper() for keyword in self.extensions}
        return frozenset(keywords | {name for name, is_on in switches.items() if is_on})
