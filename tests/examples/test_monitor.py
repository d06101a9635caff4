"""The probe: its exit codes and its words, for each thing that can be wrong."""

from __future__ import annotations

import re
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import smtpx
from tests.examples.programs import run
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("--sender", "probe@example.com", "--recipient", "echo@example.com")


@contextmanager
def echo(port: int, *, changes: bool = False, refuses: bool = False) -> Iterator[str]:
    """Send what comes in to the port of the probe, as a mail system would."""

    class Echo(smtpx.Session):
        async def data(self, body: smtpx.Body) -> smtpx.Reply:
            content = await body.read()
            if refuses:
                raise smtpx.Refuse(550, "5.7.1", "we do not like it")
            if changes:
                content = content.replace(b"..", b".")
            await smtpx.asend(
                content,
                to=f"smtp+plain://127.0.0.1:{port}",
                sender=str(self.envelope.reverse_path),
                recipients=[str(one.mailbox) for one in self.envelope.recipients],
            )
            return smtpx.Reply(250, "2.0.0", "queued as 4XkQ")

    with smtpx.Server(Echo).run_in_thread() as server:
        yield f"smtp+plain://{server.addresses[0]}"


def probe(port: int, url: str, *more: str) -> tuple[int, str]:
    listen = f"127.0.0.1:{port}"
    code, output, errors = run(
        "monitor.py", "--to", url, *NAMES, "--listen", listen, *more
    )
    assert "Traceback" not in errors
    return code, (output or errors).strip()


def test_it_comes_back() -> None:
    port = free_port()
    with echo(port) as url:
        code, said = probe(port, url)
        assert code == 0, said
        figures = r"round_trip=\d+\.\d{3}s;10;60;0 taken=\d+\.\d{3}s;;;0"
        assert re.fullmatch(rf"MAIL OK - back after \d+\.\d\d s \| {figures}", said)
        code, said = probe(port, url, "--warning", "0")
        assert code == 1
        assert said.startswith("MAIL WARNING - back after")


def test_it_is_changed_or_refused() -> None:
    port = free_port()
    with echo(port, changes=True) as url:
        expected = (2, "MAIL CRITICAL - the message came back changed")
        assert probe(port, url) == expected
    with echo(port, refuses=True) as url:
        code, said = probe(port, url)
    assert code == 2
    assert said.startswith("MAIL CRITICAL - ")
    assert "550 5.7.1 we do not like it" in said
    code, said = probe(port, f"smtp+plain://127.0.0.1:{free_port()}")
    assert code == 2


def test_it_does_not_come_back_in_time() -> None:
    class Sink(smtpx.Session):
        async def data(self, body: smtpx.Body) -> smtpx.Reply:
            await body.read()
            return smtpx.Reply(250, "2.0.0", "queued as 4XkQ")

    with smtpx.Server(Sink).run_in_thread() as server:
        url = f"smtp+plain://{server.addresses[0]}"
        result = probe(free_port(), url, "--critical", "0.1")
    assert result == (2, "MAIL CRITICAL - taken as 4XkQ, but not back in 0.1 s")


def test_the_probe_itself_is_wrong() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = probe(taken.getsockname()[1], "smtp://localhost")
    assert (code, said.split(" - ")[0]) == (3, "MAIL UNKNOWN")
    code, said = probe(free_port(), "ftp://localhost")
    assert (code, said.split(" - ")[0]) == (3, "MAIL UNKNOWN")
    code, _, errors = run("monitor.py", "--warning", "soon")
    assert code == 3
    assert errors.startswith("MAIL UNKNOWN - ")
