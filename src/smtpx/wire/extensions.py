"""The registry of extensions: each one row, which says all that there is to it.

A row knows its keyword, its RFC, the parameters it adds to MAIL and RCPT, the verbs it
adds, and what EHLO says of it in a given session. From the rows follow the keyword
lines of EHLO and the `Grammar` of a session, so an extension cannot be advertised
without being understood, nor the other way round. A user adds rows of their own:

>>> from smtpx.wire.commands import parse_command, parse_raw
>>> registry = DEFAULT_REGISTRY.with_extension(
...     Extension("XPING", "example.com", verbs=(parse_raw("XPING"),))
... )
>>> registry.ehlo_lines(Offer())[-1]
'XPING'
>>> parse_command(b"XPING 1", registry.grammar(Offer()))
Raw(verb='XPING', argument='1')
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Final

from smtpx.errors import BadParameter
from smtpx.wire.commands import BUILT_IN_VERBS, Grammar, VerbSyntax
from smtpx.wire.params import (
    PARAMETERS,
    BodyType,
    Parameter,
    ParameterTable,
    make_parameter_table,
)

__all__ = [
    "DEFAULT_REGISTRY",
    "EXTENSIONS",
    "Extension",
    "Offer",
    "Registry",
]

# ehlo-keyword (RFC 5321 section 4.1.1.1).
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a server can offer in a session as it stands.

    Attributes:
        is_lmtp: it speaks LMTP.
        is_tls: the session is under TLS.
        is_authenticated: the client has authenticated.
        max_message_octets: None if there is no limit.
        max_recipients: of one transaction; None if there is no limit.
        mechanisms: SASL mechanisms that may be used now.
        starttls_available: there is a certificate.
        enabled: keywords of the optional extensions that were switched on.
    """

    is_lmtp: bool = False
    is_tls: bool = False
    is_authenticated: bool = False
    max_message_octets: int | None = None
    max_recipients: int | None = None
    mechanisms: tuple[str, ...] = ()
    starttls_available: bool = False
    enabled: frozenset[str] = frozenset()


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

    Raises:
        ValueError: the keyword is none.
    """

    keyword: str
    rfc: str
    parameters: tuple[Parameter, ...] = ()
    verbs: tuple[VerbSyntax, ...] = ()
    advertise: Callable[[Offer], str | None] = _always

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

    def ehlo_lines(self, offer: Offer) -> tuple[str, ...]:
        """Return the keyword lines of the reply to EHLO (RFC 5321 section 4.1.1.1).

        Args:
            offer: the session.

        Raises:
            ValueError: an extension advertises what does not fit a line.
        """
        return tuple(
            _ehlo_line(row.keyword, text)
            for row in self.extensions
            if (text := row.advertise(offer)) is not None
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

    def grammar(self, offer: Offer, *, lenient_paths: bool = False) -> Grammar:
        """Return what a server understands.

        Args:
            offer: the session. The parameters and verbs of an extension are understood
                if it is advertised; the library's own verbs always are.
            lenient_paths: as in `Grammar`.
        """
        offered = {
            row.keyword for row in self.extensions if row.advertise(offer) is not None
        }
        verbs = dict(BUILT_IN_VERBS)
        known = set()
        for row in self.extensions:
            for syntax in row.verbs:
                verb = syntax.verb.encode("ascii")
                known.add(verb)
                if row.keyword in offered:
                    verbs[verb] = syntax
        mail, rcpt = self.parameter_tables(offered)
        return Grammar(
            verbs=verbs,
            mail_parameters=mail,
            rcpt_parameters=rcpt,
            lenient_paths=lenient_paths,
            unimplemented=frozenset(known - verbs.keys()),
        )


# A folded or split line would advertise what nobody registered.
_EHLO_TEXT = re.compile(r"[!-~]+(?: [!-~]+)*", re.ASCII)


def _ehlo_line(keyword: str, text: str) -> str:
    """Write ehlo-line (RFC 5321 section 4.1.1.1)."""
    if not text:
        return keyword
    if _EHLO_TEXT.fullmatch(text) is None:
        raise ValueError(f"{keyword} cannot advertise {text!a}")
    return f"{keyword} {text}"


# ----------------------------------------------------------------------------- the rows


def _when_enabled(keyword: str) -> Callable[[Offer], str | None]:
    """Advertise an extension that has to be switched on."""

    def advertise(offer: Offer) -> str | None:
        return "" if keyword in offer.enabled else None

    return advertise


def _advertise_starttls(offer: Offer) -> str | None:
    # RFC 3207 section 4.2: not once TLS is there.
    return "" if offer.starttls_available and not offer.is_tls else None


def _advertise_auth(offer: Offer) -> str | None:
    # After a success too: no further AUTH is possible (RFC 4954 section 4), but AUTH=
    # of MAIL is part of the extension.
    return " ".join(offer.mechanisms) or None


def _advertise_size(offer: Offer) -> str | None:
    # RFC 1870 section 3: 0 says that there is no fixed limit.
    return str(offer.max_message_octets or 0)


def _parameters(*keywords: str) -> tuple[Parameter, ...]:
    return tuple(row for row in PARAMETERS if row.keyword in keywords)


(_BODY,) = _parameters("BODY")


def _require_text(body: object) -> object:
    """Refuse BINARYMIME where it is not offered."""
    if body is BodyType.BINARYMIME:
        raise BadParameter("BODY=BINARYMIME is not offered", code=555)
    return body


# The parameter as it is without BINARYMIME (RFC 6152 section 3).
_TEXT_BODY = dataclasses.replace(
    _BODY,
    decode=lambda value: _require_text(_BODY.decode(value)),
    encode=lambda body, context: _BODY.encode(_require_text(body), context),
)


EXTENSIONS: Final[tuple[Extension, ...]] = (
    Extension("PIPELINING", "RFC 2920"),
    Extension("8BITMIME", "RFC 6152", parameters=(_TEXT_BODY,)),
    Extension("ENHANCEDSTATUSCODES", "RFC 2034"),
    Extension("CHUNKING", "RFC 3030", verbs=(BUILT_IN_VERBS[b"BDAT"],)),
    Extension(
        "STARTTLS",
        "RFC 3207",
        verbs=(BUILT_IN_VERBS[b"STARTTLS"],),
        advertise=_advertise_starttls,
    ),
    Extension(
        "AUTH",
        "RFC 4954",
        parameters=_parameters("AUTH"),
        verbs=(BUILT_IN_VERBS[b"AUTH"],),
        advertise=_advertise_auth,
    ),
    Extension(
        "SMTPUTF8",
        "RFC 6531",
        parameters=_parameters("SMTPUTF8"),
        advertise=_when_enabled("SMTPUTF8"),
    ),
    # Behind 8BITMIME, so that its row for BODY, which takes all values, counts.
    Extension(
        "BINARYMIME",
        "RFC 3030",
        parameters=(_BODY,),
        advertise=_when_enabled("BINARYMIME"),
    ),
    Extension(
        "DSN",
        "RFC 3461",
        parameters=_parameters("RET", "ENVID", "NOTIFY", "ORCPT"),
        advertise=_when_enabled("DSN"),
    ),
    Extension(
        "SIZE", "RFC 1870", parameters=_parameters("SIZE"), advertise=_advertise_size
    ),
    Extension("HELP", "RFC 5321", verbs=(BUILT_IN_VERBS[b"HELP"],)),
    Extension(
        "VRFY",
        "RFC 5321",
        verbs=(BUILT_IN_VERBS[b"VRFY"],),
        advertise=_when_enabled("VRFY"),
    ),
)
"""The library's own, in the order in which EHLO lists them."""

DEFAULT_REGISTRY: Final = Registry(EXTENSIONS)
