r"""The search of the inbox: what a query means, and which messages it finds.

A query is words, all of which must be found. ``-`` before a word means it must not be.

==================  ==========================================================
``word``            in the subject, an address, a name, or the text
``"two words"``     likewise, just so
``from:ann``        in From, or in the reverse path
``to:bob``          in To or Cc, or among the recipients of the envelope
``cc:bob``          in Cc
``subject:order``   in the subject
``message-id:x``    in the Message-ID
``header:x-id``     in the header, as it was sent
``user:shop``       in the name of who logged in
``has:attachment``  has a file
``has:html``        has an HTML text
``has:tls``         came over TLS
``has:problem``     a strict server would complain
``is:unread``       nobody looked at it; ``is:read``: somebody did
``larger:1M``       than so many octets; ``smaller:20k``
``after:2026-03-01``  came then or later; ``before:2026-04-01``: came before
==================  ==========================================================

>>> query = parse_query('order -from:shop "last chance" is:unread')
>>> [(term.field, term.value, term.is_negated) for term in query]
[('', 'order', False), ('from', 'shop', True), ('', 'last chance', False),
 ('is', 'unread', False)]
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smtpx.inbox.views import summary
from smtpx.message.parsed import ParsedMessage, parse_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from smtpx.inbox.messages import StoredMessage
    from smtpx.message.addresses import Address

__all__ = [
    "MAX_QUERY_CHARACTERS",
    "MAX_TERMS",
    "BadQuery",
    "Term",
    "TextCache",
    "is_found",
    "parse_query",
]

MAX_QUERY_CHARACTERS: Final = 500
"""What somebody types is shorter; each term is looked for in every message."""

MAX_TERMS: Final = 20

_MAX_TEXT_CHARACTERS: Final = 256 * 1024
_CACHE_CHARACTERS: Final = 32 * 1024 * 1024

_TERM: Final = re.compile(r'(-?)(?:([a-z-]{2,12}):)?(?:"([^"]*)"?|(\S+))', re.I)
_SIZE: Final = re.compile(r"(\d{1,12})([km]?)b?", re.I)
_UNITS: Final = {"": 1, "k": 1024, "m": 1024 * 1024}


class BadQuery(ValueError):
    """A query makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class Term:
    """One word of a query.

    Attributes:
        field: where it is looked for; empty: everywhere.
        value: in lower case.
        is_negated: whether it must not be found.
        number: of octets or seconds, where the field wants one.
    """

    field: str
    value: str
    is_negated: bool = False
    number: float = 0.0


def parse_query(text: str) -> tuple[Term, ...]:
    """Parse a query.

    Args:
        text: as a person typed it.

    Raises:
        BadQuery: it makes no sense, or is too long.

    >>> parse_query("has:wings")
    Traceback (most recent call last):
    smtpx.inbox.search.BadQuery: has: takes attachment, html, problem or tls
    """
    if len(text) > MAX_QUERY_CHARACTERS:
        raise BadQuery(f"a query has at most {MAX_QUERY_CHARACTERS} characters")
    terms = tuple(_parse_term(*match.groups("")) for match in _TERM.finditer(text))
    if len(terms) > MAX_TERMS:
        raise BadQuery(f"a query has at most {MAX_TERMS} words")
    return tuple(term for term in terms if term.value)


def _parse_term(negation: str, name: str, quoted: str, word: str) -> Term:
    name, value = name.lower(), (quoted or word).lower()
    if name and name not in _FIELDS:
        # As in a subject, or a URL.
        name, value = "", f"{name}:{value}"
    choices = _CHOICES.get(name)
    if choices is not None and value not in choices:
        *others, last = sorted(choices)
        raise BadQuery(f"{name}: takes {', '.join(others)} or {last}")
    number = 0.0
    if name in {"larger", "smaller"}:
        match = _SIZE.fullmatch(value)
        if match is None:
            raise BadQuery(f"{name}: takes a size such as 500, 20k or 1M")
        number = int(match[1]) * _UNITS[match[2]]
    elif name in {"after", "before"}:
        number = _parse_time(name, value)
    return Term(name, value, bool(negation), number)


def _parse_time(name: str, value: str) -> float:
    try:
        moment = datetime.fromisoformat(value.upper())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise BadQuery(f"{name}: takes a day such as 2026-03-01, in UTC") from None


@dataclass(frozen=True, slots=True)
class _Texts:
    """What is looked through of a message, in lower case."""

    everything: str
    from_: str
    to: str
    cc: str
    subject: str
    message_id: str
    header: str
    has_html: bool

    @property
    def characters(self) -> int:
        """How many are kept."""
        return sum(len(text) for text in (self.everything, self.header, self.to))


class TextCache:
    """Texts of messages that were searched before; at most 32 million characters.

    The first to come stay: a search goes through all messages in one order, so that a
    cache that let the oldest go would never have what is asked for next.
    """

    def __init__(self, max_characters: int = _CACHE_CHARACTERS) -> None:
        # Searches run in threads.
        self._lock = threading.Lock()
        self._left = max_characters
        self._texts: dict[str, _Texts] = {}

    def get(self, message: StoredMessage, read: Callable[[], bytes]) -> _Texts:
        """Return the texts of a message.

        Args:
            message: the facts.
            read: returns the message.
        """
        texts = self._texts.get(message.id)
        if texts is None:
            texts = _texts_of(message, parse_message(read()))
            with self._lock:
                is_new = message.id not in self._texts
                if is_new and texts.characters <= self._left:
                    self._left -= texts.characters
                    self._texts[message.id] = texts
        return texts

    def forget(self, ids: Iterable[str]) -> None:
        """Let go of texts.

        Args:
            ids: of their messages.
        """
        with self._lock:
            for id_ in ids:
                texts = self._texts.pop(id_, None)
                if texts is not None:
                    self._left += texts.characters


def _texts_of(message: StoredMessage, parsed: ParsedMessage) -> _Texts:
    senders = () if parsed.sender is None else (parsed.sender,)
    from_ = _joined((*parsed.from_, *senders)) + message.sender
    cc = _joined(parsed.cc)
    to = _joined(parsed.to) + cc + " ".join(message.recipients)
    subject = parsed.subject
    text = (parsed.text or parsed.html)[:_MAX_TEXT_CHARACTERS]
    names = " ".join(one.name or "" for one in parsed.attachments)
    header = parsed.header.encode()[:_MAX_TEXT_CHARACTERS]
    return _Texts(
        everything="\n".join((subject, from_, to, text, names)).lower(),
        from_=from_.lower(),
        to=to.lower(),
        cc=cc.lower(),
        subject=subject.lower(),
        message_id=(parsed.message_id or "").lower(),
        header=header.decode("utf-8", "replace").lower(),
        has_html=bool(parsed.html),
    )


def _joined(found: tuple[Address, ...]) -> str:
    return "".join(f"{one.name} <{one.address}>\n" for one in found)


def is_found(
    message: StoredMessage,
    terms: Sequence[Term],
    cache: TextCache,
    read: Callable[[], bytes],
) -> bool:
    """Tell whether a query finds a message.

    Args:
        message: the facts.
        terms: of the query.
        cache: of texts.
        read: returns the message; called when it is needed.
    """

    def holds(term: Term) -> bool:
        of_facts = _OF_FACTS.get(term.field)
        if of_facts is not None:
            return of_facts(message, term)
        if term.field == "has" and term.value != "html":
            return _HAS[term.value](message, read)
        return _OF_TEXTS[term.field](cache.get(message, read), term)

    # What needs no parsing goes first.
    ordered = sorted(terms, key=lambda term: term.field not in _OF_FACTS)
    return all(holds(term) is not term.is_negated for term in ordered)


_OF_FACTS: Final[dict[str, Callable[[StoredMessage, Term], bool]]] = {
    "is": lambda message, term: message.is_read is (term.value == "read"),
    "user": lambda message, term: term.value in (message.user or "").lower(),
    "larger": lambda message, term: message.octets > term.number,
    "smaller": lambda message, term: message.octets < term.number,
    "after": lambda message, term: message.received_at >= term.number,
    "before": lambda message, term: message.received_at < term.number,
}

_HAS: Final[dict[str, Callable[[StoredMessage, Callable[[], bytes]], bool]]] = {
    "attachment": lambda message, read: bool(_row(message, read)["attachments"]),
    "problem": lambda message, read: bool(_row(message, read)["problems"]),
    "tls": lambda message, _: message.tls is not None,
}

_OF_TEXTS: Final[dict[str, Callable[[_Texts, Term], bool]]] = {
    "": lambda texts, term: term.value in texts.everything,
    "from": lambda texts, term: term.value in texts.from_,
    "to": lambda texts, term: term.value in texts.to,
    "cc": lambda texts, term: term.value in texts.cc,
    "subject": lambda texts, term: term.value in texts.subject,
    "message-id": lambda texts, term: term.value in texts.message_id,
    "header": lambda texts, term: term.value in texts.header,
    "has": lambda texts, _: texts.has_html,
}

_FIELDS: Final = {*_OF_FACTS, *_OF_TEXTS}
_CHOICES: Final = {"is": {"read", "unread"}, "has": {*_HAS, "html"}}


def _row(message: StoredMessage, read: Callable[[], bytes]) -> dict[str, object]:
    parsed = message.notes.get("parsed")
    return summary(message, read()) if parsed is None else parsed
