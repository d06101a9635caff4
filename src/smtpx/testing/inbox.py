r"""What a mail server in a test received, and assertions about it.

>>> from smtpx.testing.mail_server import MailServer
>>> import smtpx
>>> with MailServer() as server:
...     result = smtpx.send(
...         b"Subject: Your order\r\n\r\nThank you\r\n", to=server.url,
...         sender="shop@example.com", recipients=["bob@example.com"])
...     mail = server.inbox.assert_sent(to="bob@example.com", subject="Your order")
>>> mail.sender, mail.recipients, mail.message.text
('shop@example.com', ('bob@example.com',), 'Thank you\n')
"""

from __future__ import annotations

import email
import email.policy
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict, Unpack

from smtpx.message.parsed import parse_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import EmailMessage

    from smtpx.message.parsed import ParsedMessage
    from smtpx.net.tls import TLSInfo
    from smtpx.wire.envelope import Envelope

__all__ = [
    "MAX_MESSAGES",
    "PATIENCE_SECONDS",
    "Expected",
    "Inbox",
    "InboxFull",
    "Predicate",
    "ReceivedMail",
]

MAX_MESSAGES: Final = 10_000
"""How many messages an inbox holds. More than a test counts; of 10 KiB each they fill
100 MiB, which a test that loops fills before anybody looks."""

PATIENCE_SECONDS: Final = 30.0
"""How long is waited for what must come. Only a test that fails waits that long."""

# Of a text in a message about a failure, and how many messages it tells of.
_SHOWN_CHARACTERS: Final = 200
_SHOWN_MESSAGES: Final = 10


@dataclass(frozen=True, eq=False)
class ReceivedMail:
    """A message that was received, and how it came.

    Attributes:
        octets: the content as it came: dots undone, CRLF line ends.
        envelope: reverse path, accepted recipients, and the parameters of both.
        hello_name: what the client called itself.
        protocol: as in a Received field: ``ESMTPSA``, ``LMTP`` (RFC 3848).
        tls: of the connection; None if the message came in plaintext.
        user: whom the client had authenticated as; None if it had not.
        session_id: the same for all messages of one connection.
    """

    octets: bytes = field(repr=False)
    envelope: Envelope = field(repr=False)
    hello_name: str
    protocol: str
    tls: TLSInfo | None
    user: str | None
    session_id: str

    @property
    def sender(self) -> str:
        """The address of MAIL; empty for ``<>``."""
        reverse_path = self.envelope.reverse_path
        return "" if reverse_path is None else str(reverse_path)

    @property
    def recipients(self) -> tuple[str, ...]:
        """The addresses of RCPT that were accepted, in their order."""
        return tuple(str(one.mailbox) for one in self.envelope.recipients)

    @cached_property
    def message(self) -> ParsedMessage:
        """What the message says: subject, addresses, text, HTML, attachments."""
        return parse_message(self.octets)

    @cached_property
    def email(self) -> EmailMessage:
        """The same as an `EmailMessage` of the standard library."""
        return email.message_from_bytes(self.octets, policy=email.policy.default)

    def __str__(self) -> str:
        to = ", ".join(self.recipients)
        return f"<{self.sender}> to {to}: {self.message.subject!r}"


Predicate: TypeAlias = Callable[[ReceivedMail], bool]
"""Says whether it is a message that is meant."""


class Expected(TypedDict, total=False):
    """What a message must be like; what is left out may be anything.

    Attributes:
        to: an address, or several, among the recipients of the envelope.
        sender: of the envelope; empty for the null reverse path.
        subject: the whole subject, or a pattern that is found in it.
        text: is in the plain text; or a pattern that is found there.
        html: likewise in the HTML text.
        headers: fields by name, and their whole values, decoded.
        attachment: the name of an attached file.
        user: whom the client had authenticated as; None: nobody.
        tls: whether it came over TLS.
        where: anything else; it is given the `ReceivedMail`.
    """

    to: str | list[str] | tuple[str, ...]
    sender: str
    subject: str | re.Pattern[str]
    text: str | re.Pattern[str]
    html: str | re.Pattern[str]
    headers: Mapping[str, str]
    attachment: str
    user: str | None
    tls: bool
    where: Predicate


class InboxFull(Exception):
    """An inbox holds as many messages as it may."""


class Inbox:
    """The messages that a server received, in the order in which it took them.

    It may be used from any thread. A message is here before the client hears that it
    was taken, so what was sent without a thread or task of its own needs no waiting.

    Args:
        max_messages: how many it holds; more are refused with 452 4.3.1.
    """

    def __init__(self, *, max_messages: int = MAX_MESSAGES) -> None:
        self._max_messages = max_messages
        self._messages: list[ReceivedMail] = []
        self._changed = threading.Condition()

    def add(self, mail: ReceivedMail) -> None:
        """Put a message in, and wake who waits for it.

        Args:
            mail: that came.

        Raises:
            InboxFull: there are too many.
        """
        with self._changed:
            if len(self._messages) >= self._max_messages:
                raise InboxFull
            self._messages.append(mail)
            self._changed.notify_all()

    @property
    def messages(self) -> tuple[ReceivedMail, ...]:
        """What has come until now."""
        with self._changed:
            return tuple(self._messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __bool__(self) -> bool:
        """An inbox is true even if it is empty: ask for its ``len``."""
        return True

    def __iter__(self) -> Iterator[ReceivedMail]:
        return iter(self.messages)

    def __getitem__(self, index: int) -> ReceivedMail:
        return self.messages[index]

    def __repr__(self) -> str:
        return f"<Inbox with {_count(len(self))}>"

    def clear(self) -> None:
        """Forget all messages."""
        with self._changed:
            self._messages.clear()

    def wait_for(
        self,
        count: int = 1,
        predicate: Predicate | None = None,
        *,
        timeout: float = PATIENCE_SECONDS,
    ) -> tuple[ReceivedMail, ...]:
        """Wait until so many messages are there, for what is sent in the background.

        It blocks: on an event loop use ``asyncio.to_thread``.

        Args:
            count: how many, those included that were there already.
            predicate: which messages count; by default all.
            timeout: after how many seconds to give up.

        Returns:
            All messages that count, ``count`` of them or more.

        Raises:
            AssertionError: there are fewer; the message tells what there is.
        """

        def found() -> list[ReceivedMail]:
            return [one for one in self._messages if not predicate or predicate(one)]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count, timeout)
            there = found()
            if len(there) < count:
                wanted = "that fit " if predicate else ""
                text = (
                    f"{_count(count)} {wanted}were to come within {timeout:g} s, "
                    f"{len(there)} did"
                )
                raise AssertionError("\n".join([text, *_list(self._messages)]))
            return tuple(there)

    def assert_sent(
        self,
        *,
        count: int | None = None,
        timeout: float = 0.0,
        **expected: Unpack[Expected],
    ) -> ReceivedMail:
        """Assert that a message like this was sent.

        Args:
            count: how many of the kind there must be, exactly; at least 1. By default
                one or more.
            timeout: how many seconds to wait for it, if it is sent in the background.
            expected: what it is like: see `Expected`.

        Returns:
            The first one.

        Raises:
            AssertionError: there is none, or not so many; the message tells what there
                is, and how each differs.
            TypeError: there is nothing of that name to expect.
        """
        if count is not None and count < 1:
            raise ValueError("to assert that nothing was sent use assert_not_sent")
        differences = _comparison(expected)
        with self._changed:
            found = self._wait_matching(differences, count or 1, timeout)
            if found and len(found) == (count or len(found)):
                return found[0]
            wanted = "a message" if count is None else _count(count)
            text = f"{wanted} {_describe(expected)} should have been sent"
            if found:
                text += f", not {len(found)}"
            lines = _list(self._messages, differences)
        raise AssertionError("\n".join([text, *lines]))

    def assert_not_sent(self, **expected: Unpack[Expected]) -> None:
        """Assert that no message like this was sent until now; without arguments: none.

        Args:
            expected: what it is like: see `Expected`.

        Raises:
            AssertionError: there is one; the message tells which.
            TypeError: there is nothing of that name to expect.
        """
        differences = _comparison(expected)
        found = [mail for mail in self.messages if not differences(mail)]
        if found:
            text = f"no message {_describe(expected)} should have been sent"
            raise AssertionError("\n".join([text, *_list(found)]))

    def _wait_matching(
        self, differences: _Comparison, count: int, timeout: float
    ) -> list[ReceivedMail]:
        found: list[ReceivedMail] = []

        def is_enough() -> bool:
            found[:] = [one for one in self._messages if not differences(one)]
            return len(found) >= count

        self._changed.wait_for(is_enough, timeout)
        return found


# ------------------------------------------------------------------ what is compared

_Comparison: TypeAlias = Callable[[ReceivedMail], list[str]]


def _differs(name: str, actual: str, wanted: str | re.Pattern[str]) -> str | None:
    """Compare a whole value, or look for a pattern in it."""
    if isinstance(wanted, re.Pattern):
        return _lacks(name, actual, wanted)
    return None if actual == wanted else f"{name} is {_short(actual)}"


def _lacks(name: str, actual: str, wanted: str | re.Pattern[str]) -> str | None:
    """Look for a text, or a pattern, in a value."""
    if isinstance(wanted, re.Pattern):
        is_there = wanted.search(actual) is not None
    else:
        is_there = wanted in actual
    return None if is_there else f"{name} is {_short(actual)}"


def _to(mail: ReceivedMail, wanted: str | list[str] | tuple[str, ...]) -> str | None:
    addresses = (wanted,) if isinstance(wanted, str) else wanted
    if set(addresses) <= set(mail.recipients):
        return None
    return f"it went to {', '.join(mail.recipients)}"


def _headers(mail: ReceivedMail, wanted: Mapping[str, str]) -> str | None:
    for name, value in wanted.items():
        actual = [str(one) for one in mail.email.get_all(name, [])]
        if value not in actual:
            shown = " and ".join(map(_short, actual)) or "missing"
            return f"header {name} is {shown}"
    return None


def _attachment(mail: ReceivedMail, wanted: str) -> str | None:
    names = [one.name for one in mail.message.attachments]
    if wanted in names:
        return None
    return f"attachments are {', '.join(map(repr, names)) or 'missing'}"


def _user(mail: ReceivedMail, wanted: str | None) -> str | None:
    if mail.user == wanted:
        return None
    return (
        "the client did not authenticate"
        if mail.user is None
        else (f"the client is user {mail.user!r}")
    )


def _tls(mail: ReceivedMail, wanted: bool) -> str | None:
    if (mail.tls is not None) is wanted:
        return None
    return "it came in plaintext" if wanted else "it came over TLS"


def _where(mail: ReceivedMail, wanted: Predicate) -> str | None:
    return None if wanted(mail) else "the function of where= says no"


# How each word of `Expected` is compared: None, or in what the message differs.
_COMPARE: Final[dict[str, Callable[[ReceivedMail, Any], str | None]]] = {
    "to": _to,
    "sender": lambda mail, wanted: _differs("sender", mail.sender, wanted),
    "subject": lambda mail, wanted: _differs("subject", mail.message.subject, wanted),
    "text": lambda mail, wanted: _lacks("text", mail.message.text, wanted),
    "html": lambda mail, wanted: _lacks("html", mail.message.html, wanted),
    "headers": _headers,
    "attachment": _attachment,
    "user": _user,
    "tls": _tls,
    "where": _where,
}


def _comparison(expected: Expected) -> _Comparison:
    """Make what tells the differences of a message."""
    strange = expected.keys() - _COMPARE.keys()
    if strange:
        raise TypeError(
            f"no {', '.join(sorted(strange))} can be expected of a message: there are "
            f"{', '.join(_COMPARE)}"
        )

    def differences(mail: ReceivedMail) -> list[str]:
        found = (_COMPARE[name](mail, wanted) for name, wanted in expected.items())
        return [one for one in found if one is not None]

    return differences


# ------------------------------------------------------------------- texts of failures


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _short(text: str) -> str:
    if len(text) <= _SHOWN_CHARACTERS:
        return repr(text)
    return f"{text[:_SHOWN_CHARACTERS]!r}... ({len(text)} characters)"


def _describe(expected: Expected) -> str:
    words = [f"{name}={value!r}" for name, value in expected.items()]
    return f"with {', '.join(words)}" if words else "at all"


def _list(
    messages: list[ReceivedMail], differences: _Comparison | None = None
) -> list[str]:
    """List the last messages, and how they differ."""
    if not messages:
        return ["no message came"]
    lines = [f"{_count(len(messages))} came:"]
    first = max(0, len(messages) - _SHOWN_MESSAGES)
    if first:
        lines.append(f"  ... {first} before these")
    for number, mail in enumerate(messages[first:], start=first + 1):
        lines.append(f"  {number}. {mail}")
        found = differences(mail) if differences else []
        lines += [f"       {one}" for one in found]
    return lines
