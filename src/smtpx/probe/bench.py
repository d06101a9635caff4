"""Where checks get their connections from, and what is known of the server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from smtpx.client.options import TLSMode
from smtpx.errors import AuthenticationFailed, ConnectError, GreetingRefused, SMTPXError
from smtpx.net.blocking import connect_tcp, connect_unix
from smtpx.net.tls import client_context
from smtpx.probe.dialogue import Dialogue, capabilities_of, finish
from smtpx.probe.login import choose_mechanisms, log_in, password_of
from smtpx.sasl.mechanism import Credentials
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from smtpx.client.options import Auth, Target
    from smtpx.net.tls import TLSInfo
    from smtpx.wire.capabilities import Capabilities
    from smtpx.wire.replies import Reply

__all__ = ["Bench", "ProbeOptions", "Survey"]

# RFC 5321 section 4.5.3.2 has minutes, which a probe of sixty connections has not.
DEFAULT_TIMEOUT_SECONDS = 10.0

# RFC 4954 section 6: not by this mechanism; another one may be.
_TRY_NEXT: Final = frozenset({504, 534})


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
        auth: whom to log in as, by a password; checks that need somebody are left out
            without. All transactions are made with it then, and under TLS if there is
            any.
        allow_plaintext_auth: show the password without TLS, also to another machine.
        relay_check: whether to ask the server to relay; no message is sent.
        log: gets each line of each dialogue.
    """

    recipient: str | None = None
    sender: str = ""
    hello_name: str = "probe.invalid"
    tls_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    auth: Auth | None = None
    allow_plaintext_auth: bool = False
    relay_check: bool = False
    log: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        # What is written into commands is an address, and holds no line end.
        for address in filter(None, (self.recipient, self.sender)):
            Mailbox.parse(address)
        if not self.hello_name.isascii() or not self.hello_name.isprintable():
            raise ValueError(f"{self.hello_name!r} is no name for EHLO")
        if self.auth is not None:
            password_of(self.auth)


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
        if self.is_implicit or self.survey.secure is None:
            return False
        return self.survey.wants_tls or self.options.auth is not None

    @property
    def auth(self) -> Auth:
        """Whom to log in as; only where a check has made sure that there is one."""
        if self.options.auth is None:
            raise ValueError("the options name nobody to log in as")
        return self.options.auth

    @property
    def credentials(self) -> Credentials:
        """The same, as mechanisms take it."""
        return Credentials(self.auth.user, password_of(self.auth))

    @property
    def is_private(self) -> bool:
        """Whether a password may be shown: nobody is on the way, or it was allowed."""
        survey = self.survey
        is_safe = survey.secure is not None or survey.is_local
        return is_safe or self.options.allow_plaintext_auth

    @cached_property
    def mechanism(self) -> str:
        """By which all checks log in; tried once.

        Raises:
            AuthenticationFailed: none fits, or the server refuses.
        """
        offered = self.survey.offered.auth_mechanisms
        fitting = choose_mechanisms(offered, self.auth, is_private=self.is_private)
        attempts = []
        for name in fitting:
            with self.private() as dialogue:
                reply = self.log_in(dialogue, self.credentials, name)
            if reply.is_positive:
                return name
            attempts.append((name, reply))
            if reply.code not in _TRY_NEXT:
                break
        raise AuthenticationFailed(
            f"cannot log in as {self.auth.user!r}"
            if attempts
            else f"no mechanism fits: the server offers {', '.join(offered) or 'none'}"
            + ", and no TLS to show it a password" * (not self.is_private),
            attempts=attempts,
            phase="command",
        )

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

    def private(self) -> Dialogue:
        """Connect as far as AUTH can be said: under TLS if there is any."""
        dialogue = self.introduced()
        if not self.is_implicit and self.survey.secure is not None:
            try:
                self.secure(dialogue)
            except BaseException:
                dialogue.__exit__(None, None, None)
                raise
        return dialogue

    def ready(self) -> Dialogue:
        """Connect as far as a transaction can be made.

        Raises:
            AuthenticationFailed: the login is refused that all checks before had.
        """
        dialogue = self.private() if self.is_secured else self.introduced()
        if self.options.auth is not None:
            try:
                self._require_login(dialogue)
            except BaseException:
                dialogue.__exit__(None, None, None)
                raise
        return dialogue

    def log_in(
        self, dialogue: Dialogue, credentials: Credentials, mechanism: str = ""
    ) -> Reply:
        """Authenticate; return the last reply.

        Args:
            dialogue: where AUTH can be said.
            credentials: whom to log in as.
            mechanism: by default the one that all checks log in by.

        Raises:
            AuthenticationFailed: the exchange was broken off, by us.
        """
        return log_in(dialogue, mechanism or self.mechanism, credentials)

    def _require_login(self, dialogue: Dialogue) -> None:
        reply = self.log_in(dialogue, self.credentials)
        if not reply.is_positive:
            raise AuthenticationFailed(
                f"cannot log in as {self.auth.user!r} any more",
                attempts=[(self.mechanism, reply)],
                phase="command",
            )

    def _first_connection(self) -> Dialogue:
        """Connect, and say so if this port is for another kind of TLS."""
        try:
            return self.connect()
        except ConnectError:
            raise
        except OSError as error:
            text = (
                f"no TLS begins at {self.target}: {error}; for STARTTLS write smtp://"
            )
            raise ConnectError(text, phase="tls") from error

    def _first_reply(self, dialogue: Dialogue) -> Reply:
        """Wait for the greeting; a server that waits for a handshake has none."""
        try:
            return dialogue.reply()
        except TimeoutError as error:
            text = (
                f"{self.target} says nothing; if this port is for TLS from the start, "
                "write smtps://"
            )
            raise ConnectError(text, phase="greeting") from error

    @cached_property
    def survey(self) -> Survey:
        """What the server says of itself; asked once.

        Raises:
            GreetingRefused: it does not want to talk.
            ConnectError: there is no connection.
            OSError: it broke.
        """
        with self._first_connection() as dialogue:
            greeting = _require_welcome(self._first_reply(dialogue))
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
