"""What replies come to: a result for each recipient, or the error that says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx.errors import DataRefused, RecipientsRefused, SenderRefused
from smtpx.wire.envelope import RecipientResult, SendResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpx.client.plan import Order
    from smtpx.wire.replies import Reply

__all__ = [
    "chunk_refused",
    "data_refused",
    "is_used_up",
    "make_result",
    "rcpt_results",
    "recipients_refused",
    "results_at_break",
    "sender_refused",
]

_CODE_CLOSING = 421


def rcpt_results(
    order: Order, replies: Sequence[Reply], *, is_sent: bool = True
) -> list[RecipientResult]:
    """Return what RCPT told of each recipient.

    Args:
        order: names them.
        replies: to RCPT, as many as came.
        is_sent: whether those who were accepted get the message.
    """
    names = order.names
    if is_sent and len(replies) == len(names):
        # As nearly always.
        return [
            RecipientResult(name, reply, reply.code < 300)
            for name, reply in zip(names, replies, strict=True)
        ]
    results = []
    for index, name in enumerate(names):
        reply = replies[index] if index < len(replies) else None
        is_accepted = reply is not None and reply.code < 300
        if is_accepted and not is_sent:
            # Nobody gets it, so this yes is void, and no refusal either.
            reply, is_accepted = None, False
        results.append(RecipientResult(name, reply, is_accepted))
    return results


def results_at_break(
    order: Order,
    rcpt_replies: Sequence[Reply],
    statuses: Sequence[Reply],
    *,
    may_have: bool,
) -> list[RecipientResult]:
    """Return what is known of each recipient when the connection ends too early.

    Args:
        order: names them.
        rcpt_replies: as many as came. 421 is no answer: the server says that it goes.
        statuses: of LMTP, by accepted recipient, as many as came.
        may_have: whether the server may have the whole message.
    """
    results = []
    heard = iter(statuses)
    for index, name in enumerate(order.names):
        reply = rcpt_replies[index] if index < len(rcpt_replies) else None
        if reply is not None and reply.code < 300:
            reply = next(heard, None)
        elif reply is not None and reply.code == _CODE_CLOSING:
            reply = None
        elif reply is not None:
            results.append(RecipientResult(name, reply, False))
            continue
        is_accepted = reply is not None and reply.code < 300
        is_unknown = reply is None and may_have
        results.append(RecipientResult(name, reply, is_accepted, is_unknown))
    return results


def make_result(
    results: list[RecipientResult], replies: Sequence[Reply], *, is_lmtp: bool
) -> SendResult:
    """Join what RCPT told and what the end of the message was answered with.

    Raises:
        DataRefused: the message was refused.
        RecipientsRefused: in LMTP, for every recipient.
    """
    if not is_lmtp:
        (reply,) = replies
        if not reply.is_positive:
            raise DataRefused(
                "the server refused the message",
                reply=reply,
                command="DATA",
                phase="data_end",
            )
        return SendResult(reply, tuple(results))
    statuses: Iterator[Reply] = iter(replies)
    for index, result in enumerate(results):
        if result.is_accepted:
            reply = next(statuses)
            results[index] = RecipientResult(result.recipient, reply, reply.is_positive)
    if not any(result.is_accepted for result in results):
        raise RecipientsRefused(
            "the server delivered to no recipient", results=results, phase="data_end"
        )
    return SendResult(None, tuple(results))


def is_used_up(reply: Reply | None) -> bool:
    """Say whether MAIL was refused because there were many before it.

    OpenSMTPD says so, after a hundred of them, in words that are about recipients. To
    the first MAIL of a connection it means something else.
    """
    return (
        reply is not None
        and reply.code == 452
        and reply.enhanced is not None
        and reply.enhanced[1:] == (5, 3)
    )


def sender_refused(order: Order, reply: Reply) -> SenderRefused:
    """Make the error for a refused MAIL."""
    return SenderRefused(
        "the server refused the sender",
        sender="" if order.sender is None else str(order.sender),
        reply=reply,
        phase="mail",
    )


def recipients_refused(
    results: Sequence[RecipientResult], *, is_any_accepted: bool
) -> RecipientsRefused:
    """Make the error for a message whose recipients were refused, or one that must not.

    Args:
        results: those who were accepted do not get it either.
        is_any_accepted: whether there are such.
    """
    text = "the server refused every recipient"
    if is_any_accepted:
        text = "the server refused a recipient, and all are required"
    return RecipientsRefused(text, results=results, phase="rcpt")


def data_refused(reply: Reply) -> DataRefused:
    """Make the error for a refused DATA."""
    return DataRefused(
        "the server refused DATA", reply=reply, command="DATA", phase="data_start"
    )


def chunk_refused(reply: Reply) -> DataRefused:
    """Make the error for a refused BDAT before the last."""
    return DataRefused(
        "the server refused a chunk of the message",
        reply=reply,
        command="BDAT",
        phase="data_block",
    )
