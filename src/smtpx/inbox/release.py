"""Release: a message goes on to a real server, one of those that were allowed.

The inbox is no open relay. It sends nothing by itself; a request names a server of the
list that was given at the start, as the list has it, and nothing of a request or of a
message becomes part of where to connect.
"""

from __future__ import annotations

import fnmatch
import re
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from smtpx.client.aio import asend
from smtpx.client.options import ClientOptions, Timeouts, parse_url
from smtpx.errors import BadAddress, SendError
from smtpx.message.trace import Received
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence

    from smtpx.inbox.messages import StoredMessage
    from smtpx.inbox.views import JSONObject
    from smtpx.wire.envelope import RecipientResult

__all__ = ["MAX_RECIPIENTS", "NotAllowed", "NotReleased", "Releaser"]

MAX_RECIPIENTS: Final = 100
"""Of one release: more than anybody types, and than a developer's test needs."""

_MAX_AT_ONCE: Final = 4

# Somebody waits at the page.
_TIMEOUTS: Final = Timeouts(connect=10.0, greeting=30.0, total=120.0)
_USER: Final = re.compile(r"(?<=://)[^@/]*@")


class NotAllowed(Exception):
    """A release that is not granted; the text says why."""


class NotReleased(Exception):
    """A server did not take a message; the text says why."""


class Releaser:
    """Sends messages on to servers of a list.

    Args:
        servers: URLs, as for `smtpx.AsyncClient`; user and password may be in them.
        recipients: patterns of the addresses that may get something, with the
            wildcards of `fnmatch`; empty: all.
        tls_context: as in `smtpx.ClientOptions`.

    Attributes:
        servers: the URLs without user and password, as requests name them.

    Raises:
        ValueError: a URL is none.

    >>> Releaser(["smtps://ann:secret@mail.example.com"]).servers
    ('smtps://mail.example.com',)
    """

    def __init__(
        self,
        servers: Iterable[str],
        *,
        recipients: Sequence[str] = (),
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self._urls = {_USER.sub("", url): url for url in servers}
        for url in self._urls.values():
            parse_url(url)
        self._patterns = tuple(one.lower() for one in recipients)
        self._options = ClientOptions(timeouts=_TIMEOUTS, tls_context=tls_context)
        self._under_way = 0

    def __repr__(self) -> str:
        return f"<Releaser to {', '.join(self.servers) or 'nobody'}>"

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers, as requests name them."""
        return tuple(self._urls)

    async def release(
        self,
        message: StoredMessage,
        content: bytes,
        *,
        server: str,
        recipients: Sequence[str],
    ) -> JSONObject:
        """Send a message on.

        Args:
            message: the facts.
            content: the message.
            server: one of ``servers``.
            recipients: who gets it.

        Returns:
            What became of it for each recipient.

        Raises:
            NotAllowed: the server or a recipient is not on the list.
            NotReleased: the server did not take it, for anybody.
        """
        url = self._urls.get(server)
        if url is None:
            raise NotAllowed("that server is not on the list of --release-to")
        mailboxes = self._allowed(recipients)
        if self._under_way >= _MAX_AT_ONCE:
            raise NotReleased("other messages are being released: try again")
        trace = _trace(message)
        self._under_way += 1
        try:
            result = await asend(
                trace + content,
                to=url,
                sender=message.sender,
                recipients=mailboxes,
                client_options=self._options,
            )
        except SendError as error:
            raise NotReleased(f"{server} did not take it: {error}") from error
        except ValueError as error:
            raise NotReleased(f"it cannot be sent: {error}") from error
        finally:
            self._under_way -= 1
        return {
            "server": server,
            "reply": None if result.reply is None else str(result.reply),
            "recipients": [_result(one) for one in result.recipients],
        }

    def _allowed(self, recipients: Sequence[str]) -> list[Mailbox]:
        if not 0 < len(recipients) <= MAX_RECIPIENTS:
            raise NotAllowed(f"name 1 to {MAX_RECIPIENTS} recipients")
        mailboxes = []
        for text in recipients:
            try:
                mailbox = Mailbox.parse(text)
            except BadAddress:
                raise NotAllowed(f"{text!r:.300} is no address") from None
            name = str(mailbox).lower()
            if self._patterns and not any(
                fnmatch.fnmatchcase(name, pattern) for pattern in self._patterns
            ):
                raise NotAllowed(f"{name} is not on the list of --release-only")
            mailboxes.append(mailbox)
        return mailboxes


def _trace(message: StoredMessage) -> bytes:
    """Make the field that tells of the way through here (RFC 5321 section 4.4)."""
    tls = message.tls
    field = Received(
        hello=message.hello_name,
        peer=None if message.peer_host is None else ip_address(message.peer_host),
        by=message.hostname,
        protocol=message.protocol,
        id=message.id,
        tls="" if tls is None else f"{tls['version']} {tls['cipher']}",
        date=datetime.fromtimestamp(message.received_at, UTC),
    )
    return field.to_field().octets


def _result(one: RecipientResult) -> JSONObject:
    return {
        "address": one.recipient,
        "accepted": one.is_accepted,
        "reply": None if one.reply is None else str(one.reply),
    }
