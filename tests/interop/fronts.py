"""Our two clients behind one function, so that each test runs with both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

import smtpx
from tests.interop.names import HELLO_NAME, RECIPIENTS, SENDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.client.options import Auth
    from tests.interop.certificates import ServerFiles

# No test waits for a server that has stopped answering.
TOTAL_SECONDS = 120.0


class Front(Enum):
    """Which of our clients."""

    BLOCKING = "blocking"
    ASYNC = "async"


@dataclass(frozen=True)
class Delivery:
    """What is to be sent, and how. The server is named when it is sent."""

    message: bytes
    sender: str = SENDER
    recipients: Sequence[str] = RECIPIENTS
    auth: Auth | None = None
    options: smtpx.ClientOptions = field(
        default_factory=lambda: smtpx.ClientOptions(
            hello_name=HELLO_NAME, timeouts=smtpx.Timeouts(total=TOTAL_SECONDS)
        )
    )

    def trusting(self, files: ServerFiles) -> Delivery:
        """Return the same with the authority of the tests."""
        options = replace(self.options, tls_context=files.client_context())
        return replace(self, options=options)

    def chunked(self, chunking: smtpx.Chunking) -> Delivery:
        """Return the same by BDAT, or not."""
        return replace(self, options=replace(self.options, chunking=chunking))


async def deliver(front: Front, url: str, delivery: Delivery) -> smtpx.SendResult:
    """Send over a connection of its own."""
    if front is Front.ASYNC:
        return await deliver_async(url, delivery)
    # The servers in Python that the tests start need the event loop meanwhile.
    return await asyncio.to_thread(deliver_blocking, url, delivery)


def deliver_blocking(url: str, delivery: Delivery) -> smtpx.SendResult:
    kind = smtpx.LMTPClient if url.startswith("lmtp") else smtpx.Client
    with kind(url, options=delivery.options, auth=delivery.auth) as client:
        return client.send(
            delivery.message,
            sender=delivery.sender,
            recipients=delivery.recipients,
        )


async def deliver_async(url: str, delivery: Delivery) -> smtpx.SendResult:
    kind = smtpx.AsyncLMTPClient if url.startswith("lmtp") else smtpx.AsyncClient
    async with kind(url, options=delivery.options, auth=delivery.auth) as client:
        return await client.send(
            delivery.message,
            sender=delivery.sender,
            recipients=delivery.recipients,
        )
