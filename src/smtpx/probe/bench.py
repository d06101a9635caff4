"""Where checks get their connections from, and what is known of the server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from smtpx.client.options import TLSMode
from smtpx.errors import ConnectError, GreetingRefused, SMTPXError
from smtpx.net.blocking import connect_tcp, connect_unix
from smtpx.net.tls import client_context
from smtpx.probe.dialogue import Dialogue, capabilities_of, finish
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from smtpx.client.options import Target
    from smtpx.net.tls import TLSInfo
    from smtpx.wire.capabilities import Capabilities
    from smtpx.wire.replies import Reply

__all__ = ["Bench", "ProbeOptions", "Survey"]

# RFC 5321 section 4.5.3.2 has minutes, which a probe of sixty connections has not.
DEFAULT_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """How to probe a server.

    Attributes:
        recipient: who gets the messages of the checks that need a whole transaction;
            without one these checks are left out, and nothing is delivered.
        sender: the reverse path; empty is the null one, which bounces nothing.
        hello_name: for EHLO.
        tls_context: what verifies the certificate; by default the system's authorities.
        server_hostname: the name in the certificate, if it is not the host's.
        timeout: of each step, in seconds.
        relay_check: whether to ask the server to relay; no message is sent.
        log: gets each line of each dialogue.
    """

    recipient: str | None = None
    sender: str = ""
    hello_name: str = "probe.invalid"
    tls_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    relay_check: bool = False
    log: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        # What is written into commands is an address, and holds no line end.
        for address in filter(None, (self.recipient, self.sender)):
            Mailbox.parse(address)
        if not self.hello_name.isascii() or not self.hello_name.isprintable():
            raise ValueError(f"{self.hello_name!r} is no name for EHLO")


@dataclass(frozen=True, slots=True)
class Survey:
    """What a server says of itself.

    Attributes:
        greeting: its first reply.
        hello: its reply to EHLO, in clear unless TLS comes first.
        capabilities: what it offers there.
        tls: facts about TLS; None if there is none.
        secure: what it offers under TLS; None if there is none.
        tls_error: why there is no TLS though it is offered; empty if there is.
        wants_tls: it takes no MAIL in clear.
        is_local: it is on this machine.
    """

    greeting: Reply
    hello: Reply
    capabilities: Capabilities
    tls: TLSInfo | None = None
    secure: Capabilities | None = None
    tls_error: str = ""
    wants_tls: bool = False
    is_local: bool = False

    @property
    def offered(self) -> Capabilities:
        """What it offers where transactions are made."""
        return self.capabilities if self.secure is None else self.secure


class Bench:
    """Connections to one server.

    Args:
        target: of `smtpx.client.options.parse_url`; one host.
        options: how to probe it.

    Attributes:
        target: as given.
        options: as given.
    """

    def __init__(self, target: Target, options: ProbeOptions) -> None:
        self.target = target
        self.options = options
        # Trust is the matter of one check; nothing secret is said in the others.
        self.any_context = client_context(verify=False)

    @property
    def is_implicit(self) -> bool:
        """Whether TLS comes first."""
        return self.target.tls is TLSMode.IMPLICIT

    @property
    def name(self) -> str | None:
        """The name of the server for TLS."""
        return self.options.server_hostname or self.target.host or None

    @property
    def verb(self) -> str:
        """``EHLO``, or ``LHLO`` of LMTP."""
        return "LHLO" if self.target.is_lmtp else "EHLO"

    @property
    def mail(self) -> str:
        """The MAIL command of each transaction."""
        return f"MAIL FROM:<{self.options.sender}>"

    @property
    def rcpt(self) -> str:
        """The RCPT command of the recipient given."""
        return f"RCPT TO:<{self.options.recipient}>"

    @property
    def is_secured(self) -> bool:
        """Whether transactions are made under TLS: because there is no other way."""
        return self.survey.wants_tls and self.survey.secure is not None

    def connect(self, context: ssl.SSLContext | None = None) -> Dialogue:
        """Connect, and say and read nothing.

        Args:
            context: of TLS that comes first; by default one that trusts anybody.

        Raises:
            ConnectError: nobody answers there.
            OSError: TLS comes first, and its handshake failed.
        """
        target, timeout = self.target, self.options.timeout
        try:
            channel = (
                connect_unix(target.path, timeout=timeout)
                if target.path is not None
                else connect_tcp(target.host, target.port, timeout=timeout)
            )
        except OSError as error:
            raise ConnectError(
                f"cannot connect to {target}: {error}", phase="connect"
            ) from error
        dialogue = Dialogue(channel, timeout=timeout, log=self.options.log)
        if self.is_implicit:
            try:
                dialogue.start_tls(context or self.any_context, self.name)
            except BaseException:
                finish(channel.close())
                raise
        return dialogue

    def greeted(self) -> Dialogue:
        """Connect and read the greeting.

        Raises:
            GreetingRefused: it is no 220.
        """
        dialogue = self.connect()
        try:
            _require_welcome(dialogue.reply())
        except BaseException:
            dialogue.__exit__(None, None, None)
            raise
        return dialogue

    def hello(self, dialogue: Dialogue) -> Reply:
        """Say EHLO or LHLO.

        Args:
            dialogue: after its greeting.
        """
        return dialogue.ask(f"{self.verb} {self.options.hello_name}")

    def secure(self, dialogue: Dialogue) -> Reply:
        """Turn to TLS; return the reply to STARTTLS if it is refused, else to EHLO.

        Args:
            dialogue: after EHLO.
        """
        reply = dialogue.ask("STARTTLS")
        if not reply.is_positive:
            return reply
        dialogue.start_tls(self.any_context, self.name)
        return self.hello(dialogue)

    def introduced(self) -> Dialogue:
        """Connect as far as EHLO, in clear unless TLS comes first."""
        dialogue = self.greeted()
        try:
            self.hello(dialogue)
        except BaseException:
            dialogue.__exit__(None, None, None)
            raise
        return dialogue

    def ready(self) -> Dialogue:
        """Connect as far as a transaction can be made."""
        dialogue = self.introduced()
        if self.is_secured:
            try:
                self.secure(dialogue)
            except BaseException:
                dialogue.__exit__(None, None, None)
                raise
        return dialogue

    @cached_property
    def survey(self) -> Survey:
        """What the server says of itself; asked once.

        Raises:
            GreetingRefused: it does not want to talk.
            ConnectError: there is no connection.
            OSError: it broke.
        """
        with self.connect() as dialogue:
            greeting = _require_welcome(dialogue.reply())
            hello = self.hello(dialogue)
            offered = capabilities_of(hello)
            found = Survey(greeting, hello, offered, is_local=dialogue.is_local)
            if self.is_implicit:
                return replace(found, tls=dialogue.tls, secure=offered)
            wants_tls = not dialogue.ask(self.mail).is_positive
        if "STARTTLS" not in offered or self.target.tls is TLSMode.NEVER:
            return found
        try:
            with self.introduced() as dialogue:
                secure = capabilities_of(self.secure(dialogue))
                tls = dialogue.tls
        except (OSError, SMTPXError) as error:
            return replace(found, tls_error=str(error))
        return replace(found, tls=tls, secure=secure, wants_tls=wants_tls)


def _require_welcome(greeting: Reply) -> Reply:
    """Return a greeting that is a 220.

    Raises:
        GreetingRefused: the server does not want to talk.
    """
    if not greeting.is_positive:
        raise GreetingRefused(
            "the server greets with a refusal",
            reply=greeting,
            phase="greeting",
        )
    return greeting
