"""Our clients reach a server through microsocks (SOCKS5) and tinyproxy (HTTP)."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.messages import TRICKY, large
from tests.interop.programs import (
    HOST,
    find_program,
    free_port,
    open_directory,
    running,
    wait_until_listening,
)
from tests.interop.sink import running_sink

if TYPE_CHECKING:
    from collections.abc import Iterator


def through(proxy: str, message: bytes = TRICKY) -> Delivery:
    delivery = Delivery(message)
    return replace(delivery, options=replace(delivery.options, proxy=proxy))


pytestmark = [pytest.mark.interop, pytest.mark.parametrize("front", Front)]


@contextlib.contextmanager
def microsocks(*options: str) -> Iterator[int]:
    """Run microsocks; yield its port."""
    port = free_port()
    program = find_program("microsocks", "microsocks")
    with open_directory() as directory:
        log = directory / "log"
        command = [program, "-i", HOST, "-p", str(port), *options]
        with running(command, log) as process:
            wait_until_listening((HOST, port), process, log)
            yield port


@contextlib.contextmanager
def tinyproxy(*lines: str) -> Iterator[int]:
    """Run tinyproxy; yield its port."""
    port = free_port()
    program = find_program("tinyproxy", "tinyproxy-bin")
    with open_directory() as directory:
        log = directory / "log"
        settings = directory / "tinyproxy.conf"
        settings.write_text(
            "\n".join([f"Port {port}", f"Listen {HOST}", f"Allow {HOST}", *lines, ""])
        )
        with running([program, "-d", "-c", str(settings)], log) as process:
            wait_until_listening((HOST, port), process, log)
            yield port


@pytest.mark.parametrize("message", [TRICKY, large(2_000_000)], ids=["small", "2 MB"])
async def test_through_socks(front: Front, message: bytes) -> None:
    with microsocks() as port, running_sink() as sink:
        proxy = f"socks5://{HOST}:{port}"
        # A name, which the proxy looks up.
        url = f"smtp+plain://localhost:{sink.port}"
        await deliver(front, url, through(proxy, message))
        assert sink.take_message()[1] == message


async def test_through_socks_with_a_password(front: Front) -> None:
    with microsocks("-u", "user", "-P", "secret") as port, running_sink() as sink:
        url = f"smtp+plain://{HOST}:{sink.port}"
        proxy = f"socks5://user:secret@{HOST}:{port}"
        await deliver(front, url, through(proxy))
        assert sink.take_message()[1] == TRICKY
        for who in ("user:wrong@", ""):
            proxy = f"socks5://{who}{HOST}:{port}"
            with pytest.raises(smtpx.ConnectError) as caught:
                await deliver(front, url, through(proxy))
            assert "wrong" not in str(caught.value)


async def test_socks_reports_a_port_where_nobody_listens(front: Front) -> None:
    with microsocks() as port:
        proxy = f"socks5://{HOST}:{port}"
        url = f"smtp+plain://{HOST}:{free_port()}"
        with pytest.raises(smtpx.ConnectError, match=r"refused|failure"):
            await deliver(front, url, through(proxy))


@pytest.mark.parametrize("message", [TRICKY, large(2_000_000)], ids=["small", "2 MB"])
async def test_through_http(front: Front, message: bytes) -> None:
    with running_sink() as sink, tinyproxy(f"ConnectPort {sink.port}") as port:
        proxy = f"http://{HOST}:{port}"
        url = f"smtp+plain://localhost:{sink.port}"
        await deliver(front, url, through(proxy, message))
        assert sink.take_message()[1] == message


async def test_through_http_with_a_password(front: Front) -> None:
    settings = "BasicAuth user secret"
    with running_sink() as sink, tinyproxy(settings) as port:
        url = f"smtp+plain://{HOST}:{sink.port}"
        proxy = f"http://user:secret@{HOST}:{port}"
        await deliver(front, url, through(proxy))
        assert sink.take_message()[1] == TRICKY
        proxy = f"http://{HOST}:{port}"
        with pytest.raises(smtpx.ConnectError, match="HTTP status 407"):
            await deliver(front, url, through(proxy))


async def test_http_refuses_a_port(front: Front) -> None:
    with tinyproxy("ConnectPort 443") as port:
        proxy = f"http://{HOST}:{port}"
        with pytest.raises(smtpx.ConnectError, match="HTTP status 403"):
            await deliver(front, f"smtp+plain://{HOST}:2500", through(proxy))
