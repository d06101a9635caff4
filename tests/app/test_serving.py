"""`run`: a signal ends a server in good order."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from tests.slow_callbacks import without_slow_callbacks

# A shell has what it runs in the background ignore SIGINT, also what that starts.
PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import smtpx

class Inbox(smtpx.Session):
    async def data(self, body):
        print(len(await body.read()), flush=True)

smtpx.run(
    smtpx.Server(Inbox, "127.0.0.1:0"),
    grace=20,
    on_ready=lambda server: print(*server.addresses, flush=True),
)
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_may_finish(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        host, _, port = process.stdout.readline().strip().rpartition(":")
        with (
            socket.create_connection((host, int(port)), timeout=60) as connection,
            connection.makefile("rb") as replies,
            socket.create_connection((host, int(port)), timeout=60) as idle,
            idle.makefile("rb") as to_idle,
        ):
            assert to_idle.readline().startswith(b"220")
            connection.sendall(
                b"HELO c.test\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n"
            )
            codes = [replies.readline()[:3] for _ in range(5)]
            assert codes == [b"220", b"250", b"250", b"250", b"354"]
            process.send_signal(number)
            # The signal has been heard when who is idle is told so.
            assert to_idle.readline().startswith(b"421 4.3.2")
            connection.sendall(b"Subject: x\r\n\r\n.\r\n")
            assert replies.readline().startswith(b"250")
        output, errors = process.communicate(timeout=60)
    assert without_slow_callbacks(errors) == ""
    assert (output, process.returncode) == ("14\nended\n", 0)
