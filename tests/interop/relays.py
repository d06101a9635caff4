"""Mail servers of others that pass mail on to ours."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import smtpx
from tests.interop.names import HELLO_NAME
from tests.interop.opensmtpd import RELAYS
from tests.interop.peers import PEERS, RECIPIENT, postfix_version
from tests.interop.programs import HOST, poll

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.exim import Exim
    from tests.interop.maildir import Maildir
    from tests.interop.opensmtpd import OpenSMTPD
    from tests.interop.postfix import Postfix

# The domain that is passed on in clear, and the one that is by TLS.
CLEAR, SECURED = "example.net", "example.org"

_numbers = itertools.count()

# Who sends what is refused: a mailbox of its own, since failures come when they like.
RETURN_PATH = "other@example.com"

# What each writes to its log of a recipient that was refused for good, and for now.
LOG_LINES = {
    "postfix": (r"to=<{}>,.* status=bounced", r"to=<{}>,.* status=deferred"),
    "exim": (r"\*\* {} ", r"== {} "),
    "opensmtpd": (
        r'to=<{}> .* result="PermFail"',
        r'to=<{}> .* result="TempFail"',
    ),
}


@dataclass(frozen=True)
class Relay:
    """A server that takes our mail, and sends it to a port of ours.

    Attributes:
        relay_port: the port.
        sender: the mailbox of `RETURN_PATH`, to which it returns failures.
    """

    key: str
    version: str
    port: int
    relay_port: int
    log: Path
    sender: Maildir

    def next_recipient(self, domain: str, local_part: str = "b") -> str:
        """Return a recipient that no message had: a relay remembers what became of one.

        Args:
            domain: `CLEAR` or `SECURED`.
            local_part: a number is put behind it.
        """
        number = next(_numbers)
        if self.key == "opensmtpd":
            domain = f"n{number % RELAYS}.{domain}"
        return f"{local_part}{number}@{domain}"

    @property
    def name(self) -> str:
        return PEERS[self.key]

    async def hand_over(
        self,
        message: bytes,
        recipient: str,
        *,
        sender: str = RECIPIENT,
        mail: smtpx.MailOptions | None = None,
        rcpt: smtpx.RcptOptions | None = None,
    ) -> None:
        """Give it a message; it passes it on when it likes, which is at once."""
        options = smtpx.ClientOptions(hello_name=HELLO_NAME)
        url = f"smtp+plain://{HOST}:{self.port}"
        async with smtpx.AsyncClient(url, options=options) as client:
            await client.send(
                message,
                sender=sender,
                recipients=[recipient],
                options=mail or smtpx.MailOptions(),
                rcpt_options=rcpt or smtpx.RcptOptions(),
            )

    async def wait_for_refusal(self, recipient: str, *, is_permanent: bool) -> str:
        """Wait until its log has it, and return that line."""
        pattern = LOG_LINES[self.key][not is_permanent].format(re.escape(recipient))

        def find() -> str | None:
            text = self.log.read_text(errors="replace")
            return next(
                (line for line in text.splitlines() if re.search(pattern, line)), None
            )

        return await asyncio.to_thread(poll, find, f"{pattern} in {self.log}")


def describe_relay(key: str, server: Postfix | Exim | OpenSMTPD) -> Relay:
    version = getattr(server, "version", None) or postfix_version()
    return Relay(key, version, server.port, server.relay_port, server.log, server.other)
