"""What a server machine is told once, and what follows from it for every session."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

from smtpx.core.limits import DEFAULT_LIMITS, Limits
from smtpx.wire.extensions import (
    DEFAULT_REGISTRY,
    ExtensionSettings,
    Offer,
    Registry,
)
from smtpx.wire.framing import BareNewline
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from smtpx.sasl.mechanism import ServerMechanism
    from smtpx.wire.grammar import Grammar

__all__ = ["ServerConfig"]

_NO_MECHANISMS: Final[Mapping[str, type[ServerMechanism]]] = {}


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The settings of a server machine; shared by all sessions.

    Attributes:
        hostname: what the server calls itself in its greeting and in EHLO.
        is_lmtp: speak LMTP (RFC 2033) in place of SMTP.
        takes_lmtp_too: LHLO as the first greeting makes LMTP of a session that begins
            as SMTP. By default each refuses the greeting of the other, which is how a
            wrong configuration is found (RFC 2033 section 4.1).
        limits: what a client may use.
        bare_newline: what to do with a bare CR or LF in a message.
        lenient_paths: take a path without brackets or with a space before it.
        extensions: EHLO keywords of extensions to enable beside those always on.
        extension_settings: what those say that have something to say.
        registry: all extensions that the server knows.
        mechanisms: SASL mechanisms by name, in the order in which they are offered.
        plaintext_mechanisms: names of mechanisms that show a password and are allowed
            without TLS nevertheless, for every client.
        trusts_local_clients: mechanisms that show a password are also allowed without
            TLS where nobody can listen: loopback and unix sockets.
        offers_starttls: STARTTLS is advertised while the session is in plaintext.
        requires_tls: nothing but NOOP, EHLO, STARTTLS and QUIT without TLS (RFC 3207
            section 4).
        requires_tls_for_auth: no AUTH without TLS, not even by a mechanism that shows
            no password; but for clients that ``trusts_local_clients`` is about.
        requires_auth: no MAIL before a successful AUTH (RFC 4954 section 6).
    """

    hostname: str
    is_lmtp: bool = False
    takes_lmtp_too: bool = False
    limits: Limits = DEFAULT_LIMITS
    bare_newline: BareNewline = BareNewline.REFUSE
    lenient_paths: bool = False
    extensions: frozenset[str] = frozenset()
    extension_settings: ExtensionSettings = field(default_factory=ExtensionSettings)
    registry: Registry = DEFAULT_REGISTRY
    mechanisms: Mapping[str, type[ServerMechanism]] = field(
        default_factory=lambda: _NO_MECHANISMS
    )
    plaintext_mechanisms: frozenset[str] = frozenset()
    trusts_local_clients: bool = True
    offers_starttls: bool = False
    requires_tls: bool = False
    requires_tls_for_auth: bool = False
    requires_auth: bool = False

    def for_gateway(self, verbs: frozenset[str]) -> ServerConfig:
        """Return the settings for the session of a gateway; made once for each case.

        Args:
            verbs: which of ``XCLIENT`` and ``XFORWARD`` it may say; maybe none.
        """
        return self._for_gateway(verbs) if verbs else self

    def offered_mechanisms(self, *, is_tls: bool, is_local: bool) -> tuple[str, ...]:
        """Name the mechanisms for a session: none shows a password to a listener.

        And none binds a TLS channel that is not there.

        Args:
            is_tls: the session is under TLS.
            is_local: the client is on loopback or a unix socket.

        Returns:
            Their names in upper case, the preferred one first.
        """
        if self.requires_tls and not is_tls:
            return ()  # AUTH would be refused like everything else
        protected = is_tls or (is_local and self.trusts_local_clients)
        if self.requires_tls_for_auth and not protected:
            return ()
        return tuple(
            name
            for name, mechanism in self.mechanisms.items()
            if (is_tls or not mechanism.binds_channel)
            and (
                protected
                or not mechanism.shows_password
                or name in self.plaintext_mechanisms
            )
        )

    def offer(
        self,
        *,
        is_tls: bool,
        is_local: bool,
        is_authenticated: bool = False,
        now: datetime | None = None,
    ) -> Offer:
        """Describe a session to the registry, which tells what to advertise in it."""
        return Offer(
            is_lmtp=self.is_lmtp,
            is_tls=is_tls,
            is_authenticated=is_authenticated,
            max_message_octets=self.limits.max_message_octets,
            max_recipients=self.limits.max_recipients,
            max_transactions=self.limits.max_transactions,
            max_recipient_domains=self.limits.max_recipient_domains,
            mechanisms=self.offered_mechanisms(is_tls=is_tls, is_local=is_local),
            starttls_available=self.offers_starttls,
            enabled=self.extensions,
            settings=self.extension_settings,
            now=now,
        )

    def grammar(
        self, *, is_tls: bool, is_local: bool, now: datetime | None = None
    ) -> Grammar:
        """Return the grammar of a session; made once for each case."""
        return self._grammar(is_tls, is_local, now)

    def ehlo_reply(
        self,
        text: str,
        *,
        is_tls: bool,
        is_local: bool,
        is_authenticated: bool,
        now: datetime | None = None,
    ) -> Reply:
        """Make the reply to EHLO (RFC 5321 section 4.1.1.1).

        Args:
            text: what follows the server's name on the first line.
            is_tls: the session is under TLS.
            is_local: the client is on loopback or a unix socket.
            is_authenticated: the client has authenticated.
            now: the minute in which the session began, if anybody knows.
        """
        return self._ehlo_reply(text, is_tls, is_local, is_authenticated, now)

    def helo_reply(self, text: str) -> Reply:
        """Make the reply to HELO.

        Args:
            text: what follows the server's name.
        """
        return self._helo_reply(text)

    def refused_verbs(self, *, is_tls: bool, is_local: bool) -> set[str]:
        """Return the verbs that a session refuses whenever they come.

        Args:
            is_tls: the session is under TLS.
            is_local: the client is on loopback or a unix socket.
        """
        refused = {"HELO", "EHLO"} if self.is_lmtp else {"LHLO"}
        if self.takes_lmtp_too:
            refused.clear()
        if is_tls or not self.offers_starttls:
            refused.add("STARTTLS")
        if not self.offered_mechanisms(is_tls=is_tls, is_local=is_local):
            refused.add("AUTH")
        if "EXPN" not in self.extensions:
            refused.add("EXPN")
        return refused

    @cached_property
    def line_limits(self) -> tuple[int, int]:
        """The length in octets that fits any limit on a line, and the longest one.

        The first is without CRLF, the other with it.
        """
        most = self.limits.max_command_octets, self.limits.max_auth_octets
        return min(most) - len(b"\r\n"), max(most)

    @cached_property
    def as_lmtp(self) -> ServerConfig:
        """The settings for a session that is LMTP."""
        return self if self.is_lmtp else replace(self, is_lmtp=True)

    @cached_property
    def without_tls(self) -> ServerConfig:
        """The settings for a client of a network in which nobody listens."""
        return replace(
            self,
            requires_tls=False,
            requires_tls_for_auth=False,
            plaintext_mechanisms=frozenset(self.mechanisms),
        )

    @cached_property
    def greeting(self) -> Reply:
        """The greeting, unless a session has another text for it."""
        return self.greet("smtpx")

    def greet(self, text: str) -> Reply:
        """Make a greeting: the server's own name comes first (RFC 5321 section 4.2)."""
        protocol = "LMTP" if self.is_lmtp else "ESMTP"
        if self.takes_lmtp_too and not self.is_lmtp:
            # Words of their own: clients look for ESMTP among them.
            protocol = "ESMTP LMTP"
        return Reply(220, None, f"{self.hostname} {protocol} {text}")

    @cached_property
    def _for_gateway(self) -> Callable[[frozenset[str]], ServerConfig]:
        # The bound: there are three sets of one or two verbs.
        @lru_cache(maxsize=3)
        def make(verbs: frozenset[str]) -> ServerConfig:
            return replace(self, extensions=self.extensions | verbs)

        return make

    @cached_property
    def _grammar(self) -> Callable[[bool, bool, datetime | None], Grammar]:
        # The bound: sessions of four kinds that began in the same two minutes.
        @lru_cache(maxsize=8)
        def make(is_tls: bool, is_local: bool, now: datetime | None) -> Grammar:
            offer = self.offer(is_tls=is_tls, is_local=is_local, now=now)
            return self.registry.grammar(offer, lenient_paths=self.lenient_paths)

        return make

    @cached_property
    def _helo_reply(self) -> Callable[[str], Reply]:
        # The bound is that of replies to EHLO, which have more to say.
        @lru_cache(maxsize=128)
        def make(text: str) -> Reply:
            return Reply(250, None, f"{self.hostname} {text}")

        return make

    @cached_property
    def _ehlo_reply(self) -> Callable[[str, bool, bool, bool, datetime | None], Reply]:
        # Most clients of a server have few names, and a reply is dear to make. The
        # bound: 128 replies of about 300 octets and a domain of at most 255.
        @lru_cache(maxsize=128)
        def make(
            text: str,
            is_tls: bool,
            is_local: bool,
            is_authenticated: bool,
            now: datetime | None,
        ) -> Reply:
            offer = self.offer(
                is_tls=is_tls,
                is_local=is_local,
                is_authenticated=is_authenticated,
                now=now,
            )
            keywords = self.registry.ehlo_lines(offer)
            # RFC 2034 section 4 exempts this reply from enhanced codes.
            return Reply(250, None, "\n".join((f"{self.hostname} {text}", *keywords)))

        return make
