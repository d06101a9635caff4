"""What the parts of an inbox share: the mailbox, who reads it, who follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.inbox.faults import FaultList
    from smtpx.inbox.live import LiveEvents
    from smtpx.inbox.mailbox import Mailbox
    from smtpx.inbox.reading import Reader
    from smtpx.inbox.release import Releaser
    from smtpx.inbox.views import JSONObject
    from smtpx.net.records import RecordResolver

__all__ = ["InboxState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxState:
    """What an inbox is made of, for its web pages.

    Attributes:
        mailbox: the messages.
        reader: reads them in threads.
        live: tells who follows.
        faults: what goes wrong.
        releaser: sends messages on.
        resolver: asks the DNS for verdicts; called when that is needed first.
        facts: returns where the inbox listens and what it can.
        web_names: under which the page may be reached, beside ``localhost`` and IP
            addresses.
    """

    mailbox: Mailbox
    reader: Reader
    live: LiveEvents
    faults: FaultList
    releaser: Releaser
    resolver: Callable[[], RecordResolver]
    facts: Callable[[], JSONObject]
    web_names: tuple[str, ...] = ()
