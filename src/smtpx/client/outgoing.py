r"""Messages by the thousand: what goes into `send_many`, and what comes out of it.

>>> from smtpx.wire.replies import Reply
>>> accepted = RecipientResult("b@example.net", Reply(250, "2.1.5", "ok"), True)
>>> outcome = Outcome(
...     Outgoing(b"Hi!\r\n", "a@example.com", "b@example.net", key=17),
...     Delivery.DELIVERED,
...     (accepted,),
...     (Reply(250, "2.0.0", "Ok: queued as 4XkQ"),),
... )
>>> outcome.outgoing.key, str(outcome.delivery), outcome.queue_ids
(17, 'delivered', ('4XkQ',))
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterable, Iterable
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Final, TypeAlias

from smtpx.client.message import BinaryFile
from smtpx.errors import Delivery
from smtpx.wire.envelope import RecipientResult, find_queue_id
from smtpx.wire.options import DEFAULT_MAIL_OPTIONS, DEFAULT_RCPT_OPTIONS

if TYPE_CHECKING:
    from smtpx.client.message import MessageSource
    from smtpx.client.message_addresses import AnyMessage
    from smtpx.client.order import RcptOptionsOf, Recipients
    from smtpx.wire.address import Mailbox
    from smtpx.wire.options import MailOptions
    from smtpx.wire.replies import Reply

__all__ = ["DEFAULT_WINDOW", "Envelopes", "Outcome", "Outgoing", "SendWindow"]


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message with its envelope, to be sent; the arguments of `send` as a value.

    Attributes:
        message: as for `send`. What can be read once only, a stream that is no file,
            cannot be sent again, nor to more recipients than the server takes at once.
        sender: as for `send`.
        recipients: likewise.
        options: parameters of MAIL.
        rcpt_options: parameters of RCPT, for all or by recipient.
        require_all: send nothing unless every recipient is accepted. It costs a round
            trip, as the content waits for their replies.
        key: whatever tells you which one it is.
    """

    message: MessageSource
    sender: str | Mailbox | None = None
    recipients: Recipients | None = None
    options: MailOptions = DEFAULT_MAIL_OPTIONS
    rcpt_options: RcptOptionsOf = DEFAULT_RCPT_OPTIONS
    require_all: bool = False
    key: object = None


if TYPE_CHECKING:
    Envelopes: TypeAlias = (
        Iterable[Outgoing | AnyMessage] | AsyncIterable[Outgoing | AnyMessage]
    )
else:
    # What `send_many` takes. An EmailMessage alone names its sender and recipients.
    Envelopes = Iterable | AsyncIterable


@dataclass(slots=True, eq=False)
class Outcome:
    """What became of one message of ``send_many``.

    Attributes:
        outgoing: the message.
        delivery: ``delivered`` if the server took responsibility for a recipient at
            least; else ``unknown``, ``not sent`` or ``refused``. Only what was not
            sent is safe to send again as it is.
        recipients: one for each recipient, in order; none if the envelope is malformed.
        replies: to the end of the message, if it was accepted: one, or several if it
            went in parts because of many recipients; none in LMTP, where each
            recipient has one.
        error: what `send` would have raised; None if everything is well.
    """

    outgoing: Outgoing
    delivery: Delivery
    recipients: tuple[RecipientResult, ...]
    replies: tuple[Reply, ...] = ()
    error: Exception | None = None

    @property
    def accepted(self) -> tuple[RecipientResult, ...]:
        """The recipients for whom the server took responsibility."""
        return self._those(Delivery.DELIVERED)

    @property
    def refused(self) -> tuple[RecipientResult, ...]:
        """The recipients whom the server answered for, and said no."""
        return self._those(Delivery.REFUSED)

    @property
    def not_sent(self) -> tuple[RecipientResult, ...]:
        """The recipients for whom the server cannot have the message."""
        return self._those(Delivery.NOT_SENT)

    @property
    def unknown(self) -> tuple[RecipientResult, ...]:
        """The recipients for whom it may have it: the reply never came (RFC 1047)."""
        return self._those(Delivery.UNKNOWN)

    @property
    def queue_ids(self) -> tuple[str, ...]:
        """The server's names for the message, as far as its replies tell them."""
        return tuple(filter(None, map(find_queue_id, self.replies)))

    def _those(self, delivery: Delivery) -> tuple[RecipientResult, ...]:
        return tuple(one for one in self.recipients if one.delivery is delivery)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendWindow:
    """How much ``send_many`` has under way before it waits for replies.

    It begins with few messages and takes more as the server accepts them, so a server
    that turns them all away, or goes, leaves few in doubt.

    Attributes:
        max_messages: at most. A message is some 5 replies of 40 octets, so a hundred of
            them fit into one read; and at 100 ms a round trip it is 1,000 a second.
        max_octets: of content, at most; a message that is larger goes alone. What a
            connection of 100 Mbit/s carries in a round trip of 80 ms.
        start_messages: to begin with.

    Raises:
        ValueError: one is less than 1.
    """

    max_messages: int = 100
    max_octets: int = 1024 * 1024
    start_messages: int = 10

    def __post_init__(self) -> None:
        if min(self.max_messages, self.max_octets, self.start_messages) < 1:
            raise ValueError("a window has room for one message and octet at least")


DEFAULT_WINDOW: Final = SendWindow()


class Rereader:
    """Says whether a message can be read a second time, and readies it.

    Args:
        source: nothing was read of it yet.
    """

    __slots__ = ("_position", "_source")

    def __init__(self, source: MessageSource) -> None:
        self._source = source
        is_file = isinstance(source, io.IOBase) and source.seekable()
        self._position = source.tell() if is_file else None  # type: ignore[union-attr]

    def rewind(self) -> bool:
        """Go back to where the message begins; say whether that was possible."""
        source = self._source
        if isinstance(source, Message | bytes | bytearray | memoryview | str):
            return True
        if self._position is not None:
            source.seek(self._position)  # type: ignore[union-attr]
            return True
        if isinstance(source, BinaryFile):
            return False
        # An iterator is its own iterator; anything else makes a new one each time.
        if isinstance(source, AsyncIterable):
            return aiter(source) is not source
        return iter(source) is not source
