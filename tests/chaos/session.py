"""A session that answers, waits, fails, hangs or is cancelled, by chance."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

import smtpx
from smtpx.errors import Refuse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from smtpx.wire.address import Mailbox
    from tests.chaos.ledger import Ledger

__all__ = ["ChaosSession"]


class _Misfortune(Exception):
    """What a handler fails with."""


async def _wait(session: smtpx.Session) -> None:
    await asyncio.sleep(7.0)


async def _fail(session: smtpx.Session) -> None:
    raise _Misfortune


async def _hang(session: smtpx.Session) -> None:
    await asyncio.get_running_loop().create_future()


async def _cancel(session: smtpx.Session) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def _refuse_421(session: smtpx.Session) -> None:
    raise Refuse(421, "4.3.2", "not now")


async def _refuse_450(session: smtpx.Session) -> None:
    raise Refuse(450, "4.2.0", "later")


async def _close(session: smtpx.Session) -> None:
    session.connection.close()
    await asyncio.sleep(0.5)


async def _time_out(session: smtpx.Session) -> None:
    async with asyncio.timeout(3):
        await asyncio.sleep(9)


_FATES: Final[dict[str, Callable[[smtpx.Session], Awaitable[None]]]] = {
    "wait": _wait,
    "fail": _fail,
    "hang": _hang,
    "cancelled": _cancel,
    "421": _refuse_421,
    "450": _refuse_450,
    "close": _close,
    "timeout": _time_out,
}


class ChaosSession(smtpx.Session):
    """Stores messages, unless something comes in between.

    Args:
        connection: as any session gets it.
        ledger: of the world.
        seed: of all chances.
        harm: how likely it is that something goes wrong.
    """

    def __init__(
        self, connection: smtpx.ConnectionInfo, ledger: Ledger, seed: str, harm: float
    ) -> None:
        super().__init__(connection)
        ledger.counts["sessions"] += 1
        ledger.sessions += 1
        self.ledger = ledger
        self.harm = harm
        # The client's port tells the connection, whatever the order of accepting.
        self.chances = random.Random(f"{seed}/session/{connection.peer}")

    async def meet(self, hook: str) -> None:
        """Have something happen, or not."""
        if self.chances.random() > self.harm / 4:
            return
        fate = self.chances.choice([*_FATES])
        self.ledger.counts[f"{fate} in {hook}"] += 1
        await _FATES[fate](self)

    async def connected(self) -> None:
        await self.meet("connected")

    async def hello(self, _name: str) -> None:
        await self.meet("hello")

    async def mail(self, _path: Mailbox | None, _options: smtpx.MailOptions) -> None:
        await self.meet("mail")

    async def rcpt(self, path: Mailbox, _options: smtpx.RcptOptions) -> None:
        if path.local_part.startswith("no"):
            raise Refuse(550, "5.1.1", "no such mailbox")
        await self.meet("rcpt")

    async def start_data(self) -> None:
        await self.meet("start_data")

    async def data(self, body: smtpx.Body) -> smtpx.Reply:
        how = self.chances.choice(("whole", "blocks", "late", "some"))
        if how == "late":
            await asyncio.sleep(self.chances.choice((0.01, 5.0)))
        content = b""
        async for block in body:
            content += block
            if how == "blocks":
                await asyncio.sleep(0.02)
            elif how == "some" and self.chances.random() < self.harm / 4:
                raise Refuse(554, "5.6.0", "that is enough")
        await self.meet("data")
        # Nothing is awaited from here to the reply.
        recipients = tuple(str(one.mailbox) for one in self.envelope.recipients)
        self.ledger.store(content, recipients)
        return smtpx.Reply(250, "2.0.0", "stored")

    async def closed(self, _reason: str) -> None:
        try:
            if self.chances.random() < self.harm / 4:
                await asyncio.sleep(3.0)
        finally:
            self.ledger.sessions -= 1
