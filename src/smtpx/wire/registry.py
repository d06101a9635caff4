"""The registry of extensions: each one row, which says all that there is to it.

A row knows its keyword, its RFC, the parameters it adds to MAIL and RCPT, the verbs it
adds, what EHLO says of it in a given session, and what may be asked for where a server
says that. From the rows follow the keyword lines of EHLO and the `Grammar` of a
session, so an extension cannot be advertised without being understood, nor the other
way round; and as both ends judge a request by what was advertised, a server cannot
refuse what it promised, nor a client ask for more. The library's own rows are in
`smtpx.wire.extensions`; a user adds rows of their own:

>>> from smtpx.wire.grammar import parse_command, parse_raw
>>> registry = Registry(()).with_extension(
...     Extension("XPING", "example.com", verbs=(parse_raw("XPING"),))
... )
>>> registry.ehlo_lines(Offer())
('XPING',)
>>> parse_command(b"XPING 1", registry.grammar(Offer()))
Raw(verb='XPING', argument='1')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias, TypeVar

from smtpx.wire.codecs import MAX_SECONDS, require_solicit
from smtpx.wire.grammar import BUILT_IN_VERBS, Grammar, VerbSyntax, allow_all
from smtpx.wire.options import MailOptions, RcptOptions
from smtpx.wire.params import Parameter, ParameterTable, make_parameter_table

__all__ = [
    "Extension",
    "ExtensionSettings",
    "MailCheck",
    "Offer",
    "RcptCheck",
    "Registry",
]

# ehlo-keyword (RFC 5321 section 4.1.1.1).
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*", re.ASCII)
# priority-profile (RFC 6710 section 7).
_PROFILE = re.compile(r"[A-Za-z0-9._-]{0,20}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionSettings:
    """What a server says of extensions that have something to say.

    It counts for those that are switched on.

    Attributes:
        deliver_by_min_seconds: DELIVERBY: the least time for a message that is to be
            returned when it is late; None says nothing of it (RFC 2852 section 2).
        mt_priority_profile: MT-PRIORITY: the name of the policy by which priorities
            are assigned, 1 to 20 letters, digits, ``-``, ``_`` and ``.``; empty does
            not tell (RFC 6710 section 3).
        future_release_max_seconds: FUTURERELEASE: how long a message may be held, from
            the begin of a session (RFC 4865 section 3). 60 days are what mox takes.
        no_soliciting: NO-SOLICITING: classes of solicitation that are not wanted here;
            a message that names one is refused with 550 5.7.1 (RFC 3865 section 2).
        rcpt_compatibility: take parameters of MAIL with RCPT too, where peers send
            them so, as go-smtp does with ``BY`` and ``MT-PRIORITY``.

    Raises:
        ValueError: a value is none that the extension can express.

    >>> ExtensionSettings(mt_priority_profile="STANAG4406").mt_priority_profile
    'STANAG4406'
    """

    deliver_by_min_seconds: int | None = None
    mt_priority_profile: str = ""
    future_release_max_seconds: int = 60 * 86_400
    no_soliciting: tuple[str, ...] = ()
    rcpt_compatibility: bool = False

    def __post_init__(self) -> None:
        for name in ("deliver_by_min_seconds", "future_release_max_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not 1 <= seconds <= MAX_SECONDS:
                raise ValueError(f"{name} is 1 to {MAX_SECONDS}, not {seconds}")
        if _PROFILE.fullmatch(self.mt_priority_profile) is None:
            raise ValueError(f"bad mt_priority_profile: {self.mt_priority_profile!a}")
        if self.no_soliciting:
            _ehlo_line("NO-SOLICITING", require_solicit(",".join(self.no_soliciting)))


DEFAULT_SETTINGS: Final = ExtensionSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a server can offer in a session as it stands.

    Attributes:
        is_lmtp: it speaks LMTP.
        is_tls: the session is under TLS.
        is_authenticated: the client has authenticated.
        max_message_octets: None if there is no limit.
        max_recipients: of one transaction; None if there is no limit.
        max_transactions: of one session; None if there is no limit.
        max_recipient_domains: of one session; None if there is no limit.
        mechanisms: SASL mechanisms that may be used now.
        starttls_available: there is a certificate.
        enabled: keywords of the optional extensions that were switched on.
        settings: of the extensions.
        now: when the session began, with a time zone; None if nobody knows.
    """

    is_lmtp: bool = False
    is_tls: bool = False
    is_authenticated: bool = False
    max_message_octets: int | None = None
    max_recipients: int | None = None
    max_transactions: int | None = None
    max_recipient_domains: int | None = None
    mechanisms: tuple[str, ...] = ()
    starttls_available: bool = False
    enabled: frozenset[str] = frozenset()
    settings: ExtensionSettings = DEFAULT_SETTINGS
    now: datetime | None = None


MailCheck: TypeAlias = Callable[[MailOptions, Sequence[str], datetime | None], None]
"""Raises `smtpx.errors.BadParameter` for options that the server excludes by what it
advertised, the parameters of the keyword. The time is now, or None if not known."""

RcptCheck: TypeAlias = Callable[[RcptOptions, Sequence[str], datetime | None], None]
"""The same for RCPT."""


def _always(_offer: Offer) -> str | None:
    return ""


@dataclass(frozen=True, slots=True)
class Extension:
    """A row of the registry.

    Args:
        keyword: as EHLO lists it, in upper case.
        rfc: where it is defined.
        parameters: what it adds to MAIL and RCPT.
        verbs: what it adds to the commands.
        advertise: returns what follows the keyword in EHLO, maybe nothing, or None if
            the session has no such extension.
        check_mail: refuses what MAIL may not ask for where the keyword is advertised
            with these parameters. The server calls it with what it advertises, the
            client with what the server did; None if all is allowed.
        check_rcpt: the same for RCPT.

    Raises:
        ValueError: the keyword is none.
    """

    keyword: str
    rfc: str
    parameters: tuple[Parameter, ...] = ()
    verbs: tuple[VerbSyntax, ...] = ()
    advertise: Callable[[Offer], str | None] = _always
    check_mail: MailCheck | None = None
    check_rcpt: RcptCheck | None = None

    def __post_init__(self) -> None:
        if not _KEYWORD.fullmatch(self.keyword) or self.keyword != self.keyword.upper():
            raise ValueError(f"{self.keyword!a} is no keyword in upper case")


class Registry:
    """The extensions that a server knows, in the order in which EHLO lists them.

    Args:
        extensions: rows. Of two rows for one parameter or verb the later one counts.

    Attributes:
        extensions: the rows.
    """

    __slots__ = ("extensions",)

    def __init__(self, extensions: tuple[Extension, ...]) -> None:
        self.extensions = extensions

    def with_extension(self, extension: Extension) -> Registry:
        """Return a registry with one row more, or with one replaced.

        Args:
            extension: takes the place of the row with its keyword, or comes last.
        """
        rows = {row.keyword: row for row in self.extensions}
        rows[extension.keyword] = extension
        return Registry(tuple(rows.values()))

    @property
    def keywords(self) -> frozenset[str]:
        """The keywords of all rows."""
        return frozenset(row.keyword for row in self.extensions)

    def ehlo_lines(self, offer: Offer) -> tuple[str, ...]:
        """Return the keyword lines of the reply to EHLO (RFC 5321 section 4.1.1.1).

        Args:
            offer: the session.

        Raises:
            ValueError: an extension advertises what does not fit a line.
        """
        return tuple(
            _ehlo_line(row.keyword, text) for row, text in self._advertised(offer)
        )

    def parameter_tables(
        self, keywords: Container[str]
    ) -> tuple[ParameterTable, ParameterTable]:
        """Return the parameters of MAIL and of RCPT that some extensions add.

        Args:
            keywords: of the extensions; what a client was told will do.
        """
        rows = [
            parameter
            for row in self.extensions
            if row.keyword in keywords
            for parameter in row.parameters
        ]
        return make_parameter_table(rows, "MAIL"), make_parameter_table(rows, "RCPT")

    def check(
        self,
        options: MailOptions | RcptOptions,
        advertised: Mapping[str, Sequence[str]],
        now: datetime | None = None,
    ) -> None:
        """Refuse what a server excludes by what it advertises.

        Args:
            options: of MAIL or RCPT.
            advertised: the parameters of each keyword, as `Capabilities` has them.
            now: the time, with a time zone; None leaves out what depends on it.

        Raises:
            BadParameter: with the reply that a server gives.
        """
        if isinstance(options, MailOptions):
            self._mail_check(advertised, now)(options)
        else:
            self._rcpt_check(advertised, now)(options)

    def grammar(self, offer: Offer, *, lenient_paths: bool = False) -> Grammar:
        """Return what a server understands.

        Args:
            offer: the session. The parameters and verbs of an extension are understood
                if it is advertised; the library's own verbs always are.
            lenient_paths: as in `Grammar`.
        """
        offered = {row.keyword: text.split() for row, text in self._advertised(offer)}
        verbs = dict(BUILT_IN_VERBS)
        known = set()
        for row in self.extensions:
            for syntax in row.verbs:
                verb = syntax.verb.encode("ascii")
                known.add(verb)
                if row.keyword in offered:
                    verbs[verb] = syntax
        mail, rcpt = self.parameter_tables(offered)
        if not offer.settings.rcpt_compatibility:
            rcpt = {key: row for key, row in rcpt.items() if not row.is_compatibility}
        return Grammar(
            verbs=verbs,
            mail_parameters=mail,
            rcpt_parameters=rcpt,
            check_mail=self._mail_check(offered, offer.now),
            check_rcpt=self._rcpt_check(offered, offer.now),
            lenient_paths=lenient_paths,
            unimplemented=frozenset(known - verbs.keys()),
        )

    def _mail_check(
        self, advertised: Mapping[str, Sequence[str]], now: datetime | None
    ) -> Callable[[MailOptions], None]:
        return _join(
            [
                (row.check_mail, advertised[row.keyword])
                for row in self.extensions
                if row.check_mail is not None and row.keyword in advertised
            ],
            now,
        )

    def _rcpt_check(
        self, advertised: Mapping[str, Sequence[str]], now: datetime | None
    ) -> Callable[[RcptOptions], None]:
        return _join(
            [
                (row.check_rcpt, advertised[row.keyword])
                for row in self.extensions
                if row.check_rcpt is not None and row.keyword in advertised
            ],
            now,
        )

    def _advertised(self, offer: Offer) -> Iterator[tuple[Extension, str]]:
        """Return the rows that a session has, each with what follows its keyword."""
        for row in self.extensions:
            text = row.advertise(offer)
            if text is not None:
                yield row, text


_OptionsT = TypeVar("_OptionsT")


def _join(
    checks: Sequence[
        tuple[
            Callable[[_OptionsT, Sequence[str], datetime | None], None], Sequence[str]
        ]
    ],
    now: datetime | None,
) -> Callable[[_OptionsT], None]:
    """Make one check of several, which most sessions have none of."""
    if not checks:
        return allow_all

    def check(options: _OptionsT) -> None:
        for one, parameters in checks:
            one(options, parameters, now)

    return check


# A folded or split line would advertise what nobody registered. With its code and CRLF
# a line has 512 octets at most (RFC 5321 section 4.5.3.1.5).
_MAX_EHLO_LINE: Final = 512 - len("250-\r\n")
_EHLO_TEXT = re.compile(r"[!-~]+(?: [!-~]+)*", re.ASCII)


def _ehlo_line(keyword: str, text: str) -> str:
    """Write ehlo-line (RFC 5321 section 4.1.1.1)."""
    if not text:
        return keyword
    line = f"{keyword} {text}"
    if _EHLO_TEXT.fullmatch(text) is None or len(line) > _MAX_EHLO_LINE:
        raise ValueError(f"{keyword} cannot advertise {text[:100]!a}")
    return line
