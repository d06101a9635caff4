"""What ``smtpx send`` tells of the messages it sent: for people, and for programs."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from smtpx.app.sinks import printable
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.screen import Screen, reply_text
from smtpx.errors import Delivery, SendError
from smtpx.wire.envelope import RecipientResult, find_queue_id

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from smtpx.cli.sources import Source
    from smtpx.wire.replies import Reply

__all__ = ["JSONReport", "Mail", "Report", "Summary"]

_MEGA: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Mail:
    """A message to send, and its envelope.

    Attributes:
        source: of its content.
        sender: as text, empty for the null reverse path.
        recipients: as text.
    """

    source: Source
    sender: str
    recipients: list[str]

    @property
    def name(self) -> str:
        """What it is called, safe to print."""
        return printable(self.source.name)


class Report:
    """Tells of every message and every recipient.

    Args:
        screen: where to.

    Attributes:
        failures: an exit code for each message that was not sent to all.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self.failures: list[ExitCode] = []

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""

    def planned(self, mail: Mail) -> None:
        """Tell what would be sent.

        Args:
            mail: the message.
        """
        self._screen.result(f"{mail.name}: {mail.source.size:,} octets")
        self._screen.result(f"  from  {printable(mail.sender) or '<>'}")
        for recipient in mail.recipients:
            self._screen.result(f"  to    {printable(recipient)}")

    def checked(self, mail: Mail, results: Sequence[RecipientResult]) -> None:
        """Tell whether recipients would be accepted.

        Args:
            mail: the message, which was not sent.
            results: one for each recipient.
        """
        self._count_refused(results)
        self._screen.result(f"{mail.name}: not sent, only asked")
        self._show_recipients(results)

    def sent(
        self,
        mail: Mail,
        results: Sequence[RecipientResult],
        replies: Sequence[Reply],
        error: Exception | None,
    ) -> None:
        """Tell what became of a message.

        Args:
            mail: the message.
            results: one for each recipient, as far as it came to them.
            replies: to the end of the message.
            error: why it was not sent; None if it was, to some recipient at least.
        """
        failure = self._count(results, error)
        if failure is None:
            self._show(mail, results, replies)
        else:
            self._fail(mail, error, failure)
            self._show_recipients(results)

    # ------------------------------------------------------------------------ inside

    def _count(
        self, results: Sequence[RecipientResult], error: Exception | None
    ) -> Failure | None:
        """Note the exit code; return the failure if the message reached nobody."""
        if error is None or any(one.is_accepted for one in results):
            self._count_refused(results)
            return None
        failure = explain(error)
        self.failures.append(failure.code)
        return failure

    def _count_refused(self, results: Sequence[RecipientResult]) -> None:
        refusals = [one.reply for one in results if not one.is_accepted]
        if refusals:
            is_temporary = all(one is None or one.is_temporary for one in refusals)
            self.failures.append(
                ExitCode.TEMPORARY if is_temporary else ExitCode.NO_USER
            )

    def _fail(self, mail: Mail, error: Exception | None, failure: Failure) -> None:
        state = ""
        if isinstance(error, SendError) and error.delivery is Delivery.UNKNOWN:
            state = " (may have arrived)"
        text = f"smtpx: {mail.name}: not sent{state}: {printable(str(failure))}"
        self._screen.note(text, "red")

    def _show(
        self, mail: Mail, results: Sequence[RecipientResult], replies: Sequence[Reply]
    ) -> None:
        ids = ", ".join(filter(None, map(find_queue_id, replies)))
        queued = f", {printable(ids)}" if ids else ""
        accepted = sum(one.is_accepted for one in results)
        if accepted == len(results):
            self._screen.result(f"{mail.name}: sent{queued}", color="green")
        else:
            count = f"{accepted} of {len(results)} recipients"
            self._screen.result(f"{mail.name}: sent to {count}{queued}", color="yellow")
        for reply in replies:
            self._screen.result(f"  {reply_text(reply)}")
        self._show_recipients(results)

    def _show_recipients(self, results: Sequence[RecipientResult]) -> None:
        width = max((len(one.recipient) for one in results), default=0)
        for one in results:
            word = _WORDS[one.delivery]
            said = "" if one.reply is None else reply_text(one.reply)
            line = f"  {word}  {printable(one.recipient):{width}}  {said}".rstrip()
            self._screen.result(line, color=None if one.is_accepted else "red")


# What is said of a recipient, equally long.
_WORDS: Final = {
    Delivery.DELIVERED: "accepted",
    Delivery.REFUSED: "refused ",
    Delivery.NOT_SENT: "not sent",
    Delivery.UNKNOWN: "unknown ",
}


class Summary(Report):
    """Tells of each message that was not sent to all, and the sum of everything."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(screen)
        self._began = time.monotonic()
        self._messages: Counter[str] = Counter()
        self._recipients: Counter[Delivery] = Counter()
        self._octets = 0

    def sent(
        self,
        mail: Mail,
        results: Sequence[RecipientResult],
        replies: Sequence[Reply],
        error: Exception | None,
    ) -> None:
        """Count a message; tell what became of it if somebody will not get it."""
        self._recipients.update(one.delivery for one in results)
        # Those whom it never came to.
        self._recipients[Delivery.NOT_SENT] += len(mail.recipients) - len(results)
        is_sent = any(one.is_accepted for one in results)
        self._messages["sent" if is_sent else "not sent"] += 1
        if not is_sent:
            super().sent(mail, results, replies, error)
            return
        self._octets += mail.source.size
        if not all(one.is_accepted for one in results):
            self._show_partly(mail, results)

    def _show_partly(self, mail: Mail, results: Sequence[RecipientResult]) -> None:
        self._count_refused(results)
        accepted = sum(one.is_accepted for one in results)
        text = f"{mail.name}: sent to {accepted} of {len(results)} recipients"
        self._screen.result(text, color="yellow")
        self._show_recipients([one for one in results if not one.is_accepted])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell the sums."""
        if not self._messages:
            return
        seconds = max(time.monotonic() - self._began, 0.001)
        count = self._messages.total()
        sent = self._messages["sent"]
        self._screen.result(
            f"{sent:,} of {count:,} messages sent, {self._octets / _MEGA:,.1f} MB, "
            f"in {seconds:,.1f} s ({count / seconds:,.0f} a second)",
            color="green" if sent == count else "yellow",
        )
        told = ", ".join(
            f"{self._recipients[delivery]:,} {word.strip()}"
            for delivery, word in _WORDS.items()
            if self._recipients[delivery]
        )
        self._screen.result(f"recipients: {told}")


class JSONReport(Report):
    """Writes an object a line for each message, for programs."""

    def planned(self, mail: Mail) -> None:
        """Write what would be sent."""
        self._write(mail, "planned", [])

    def checked(self, mail: Mail, results: Sequence[RecipientResult]) -> None:
        """Write whether recipients would be accepted."""
        self._count_refused(results)
        self._write(mail, "checked", results)

    def sent(
        self,
        mail: Mail,
        results: Sequence[RecipientResult],
        replies: Sequence[Reply],
        error: Exception | None,
    ) -> None:
        """Write what became of a message."""
        failure = self._count(results, error)
        delivery = Delivery.DELIVERED
        if failure is not None:
            delivery = (
                error.delivery if isinstance(error, SendError) else Delivery.NOT_SENT
            )
        self._write(mail, str(delivery), results, replies, failure)

    def _write(
        self,
        mail: Mail,
        delivery: str,
        results: Sequence[RecipientResult],
        replies: Sequence[Reply] = (),
        failure: Failure | None = None,
    ) -> None:
        record = {
            "message": mail.source.name,
            "octets": mail.source.size,
            "delivery": delivery,
            "sender": mail.sender,
            "recipients": [
                {"recipient": one.recipient, "delivery": str(one.delivery)}
                | _reply_record(one.reply)
                for one in results
            ]
            + [
                {"recipient": recipient, "delivery": str(Delivery.NOT_SENT)}
                for recipient in mail.recipients[len(results) :]
            ],
            "replies": [_reply_record(reply) for reply in replies],
            "queue_ids": [*filter(None, map(find_queue_id, replies))],
            "error": None if failure is None else str(failure),
            "exit_code": 0 if failure is None else int(failure.code),
        }
        # In ASCII, so that nothing in it is anything to a terminal.
        self._screen.result(json.dumps(record))


def _reply_record(reply: Reply | None) -> dict[str, object]:
    if reply is None:
        return {}
    enhanced = None if reply.enhanced is None else str(reply.enhanced)
    return {"code": reply.code, "enhanced": enhanced, "text": reply.text}
