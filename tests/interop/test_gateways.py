"""XCLIENT, XFORWARD and the PROXY header, between Postfix and us."""

from __future__ import annotations

import queue
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.interop.fronts import Front
from tests.interop.maildir import as_sent, split_trace
from tests.interop.messages import TRICKY
from tests.interop.names import HELLO_NAME, SENDER
from tests.interop.programs import HOST, START_SECONDS, poll

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.interop.postfix import Postfix

pytestmark = pytest.mark.interop

FRONTS = pytest.mark.parametrize("front", Front)
RECIPIENT = "user@example.com"
OPTIONS = smtpx.ClientOptions(hello_name=HELLO_NAME)


async def talk(
    front: Front,
    port: int,
    blocking: Callable[[smtpx.Client], smtpx.SendResult],
    awaited: Callable[[smtpx.AsyncClient], Awaitable[smtpx.SendResult]],
    options: smtpx.ClientOptions = OPTIONS,
) -> smtpx.SendResult:
    """Connect in clear, by either front."""
    url = f"smtp+plain://{HOST}:{port}"
    if front is Front.BLOCKING:
        with smtpx.Client(url, options=options) as client:
            return blocking(client)
    async with smtpx.AsyncClient(url, options=options) as client:
        return await awaited(client)


def send(client: smtpx.Client) -> smtpx.SendResult:
    return client.send(TRICKY, sender=SENDER, recipients=[RECIPIENT])


async def asend(client: smtpx.AsyncClient) -> smtpx.SendResult:
    return await client.send(TRICKY, sender=SENDER, recipients=[RECIPIENT])


@FRONTS
async def test_postfix_takes_our_client_for_another(
    front: Front, postfix: Postfix
) -> None:
    told = smtpx.XClient(
        name="spike.example",
        reverse_name="spike.example",
        addr="192.0.2.7",
        port=40_112,
        helo="helo.spike.example",
        login="bob@spike.example",
        destaddr="198.51.100.1",
        destport=25,
    )

    def blocking(client: smtpx.Client) -> smtpx.SendResult:
        assert client.xclient(told).code == 220
        # The client that was told is none that may say so.
        assert client.extension("XCLIENT") is None
        return send(client)

    async def awaited(client: smtpx.AsyncClient) -> smtpx.SendResult:
        assert (await client.xclient(told)).code == 220
        assert client.extension("XCLIENT") is None
        return await asend(client)

    await talk(front, postfix.gateway_port, blocking, awaited)
    delivered = postfix.user.take_next()
    assert as_sent(delivered) == TRICKY
    trace = split_trace(delivered)[0]
    assert b"from helo.spike.example (spike.example [192.0.2.7])" in trace
    assert b"(Authenticated sender: bob@spike.example)" in trace
    assert b"with ESMTPA id" in trace


@FRONTS
async def test_postfix_takes_an_ipv6_client_without_a_name(
    front: Front, postfix: Postfix
) -> None:
    told = smtpx.XClient(name=smtpx.Unknown.TEMPUNAVAIL, addr="2001:db8::7")

    def blocking(client: smtpx.Client) -> smtpx.SendResult:
        client.xclient(told)
        return send(client)

    async def awaited(client: smtpx.AsyncClient) -> smtpx.SendResult:
        await client.xclient(told)
        return await asend(client)

    await talk(front, postfix.gateway_port, blocking, awaited)
    trace = split_trace(postfix.user.take_next())[0]
    assert b"from client.example (unknown [IPv6:2001:db8::7])" in trace


@FRONTS
async def test_postfix_refuses_what_it_cannot_read(
    front: Front, postfix: Postfix
) -> None:
    # We would not send it; so it is written by hand.
    def blocking(client: smtpx.Client) -> smtpx.SendResult:
        assert client.execute("XCLIENT", "ADDR=mx.example").code == 501
        return send(client)

    async def awaited(client: smtpx.AsyncClient) -> smtpx.SendResult:
        assert (await client.execute("XCLIENT", "ADDR=mx.example")).code == 501
        return await asend(client)

    await talk(front, postfix.gateway_port, blocking, awaited)
    assert b"(localhost [127.0.0.1])" in split_trace(postfix.user.take_next())[0]


@FRONTS
async def test_postfix_logs_what_we_forward(front: Front, postfix: Postfix) -> None:
    ident = "4XkQ2" + front.value.upper()
    told = smtpx.XForward(
        name="spike.example",
        addr="192.0.2.8",
        port=40_112,
        proto="ESMTP",
        helo="helo.spike.example",
        ident=ident,
        source=smtpx.ForwardedSource.REMOTE,
    )

    def blocking(client: smtpx.Client) -> smtpx.SendResult:
        assert client.xforward(told).code == 250
        return send(client)

    async def awaited(client: smtpx.AsyncClient) -> smtpx.SendResult:
        assert (await client.xforward(told)).code == 250
        return await asend(client)

    await talk(front, postfix.gateway_port, blocking, awaited)
    postfix.user.take_next()

    def logged() -> str | None:
        return next(
            (line for line in postfix.log.read_text().splitlines() if ident in line),
            None,
        )

    line = poll(logged, "Postfix to log where the message came from")
    assert "orig_client=spike.example[192.0.2.8]" in line
    assert f"orig_queue_id={ident}" in line


@FRONTS
@pytest.mark.parametrize("version", [1, 2])
async def test_postfix_takes_our_proxy_header(
    front: Front, version: int, postfix: Postfix
) -> None:
    header = smtpx.ProxyHeader(
        ("192.0.2.9", 40_112), ("198.51.100.1", 25), version=version
    )
    options = replace(OPTIONS, proxy_header=header)
    await talk(front, postfix.proxy_port, send, asend, options)
    delivered = postfix.user.take_next()
    assert as_sent(delivered) == TRICKY
    assert b"from client.example (unknown [192.0.2.9])" in split_trace(delivered)[0]


async def test_postfix_forwards_to_our_server(postfix: Postfix) -> None:
    """Postfix hands its mail to us as a filter, and tells where it came from."""
    seen: queue.SimpleQueue[tuple[smtpx.XForward | None, bytes]] = queue.SimpleQueue()

    class Filter(smtpx.Session):
        async def data(self, body: smtpx.Body) -> None:
            seen.put((self.connection.forwarded, await body.read()))

    options = smtpx.ServerOptions(
        hostname="filter.example", xforward_networks=("127.0.0.0/8",)
    )
    address = f"{HOST}:{postfix.filter_port}"
    with smtpx.Server(Filter, address, options=options).run_in_thread():
        result = await talk(Front.BLOCKING, postfix.filtered_port, send, asend)
        forwarded, content = seen.get(timeout=START_SECONDS)
    assert split_trace(content.replace(b"\r\n", b"\n"))[1] == TRICKY.replace(
        b"\r\n", b"\n"
    )
    assert forwarded is not None
    assert forwarded.addr == HOST
    assert forwarded.name == "localhost"
    assert isinstance(forwarded.port, int)
    assert forwarded.helo == HELLO_NAME
    assert forwarded.proto == "ESMTP"
    assert forwarded.ident == result.queue_id
    # It counts nobody as local here: local_header_rewrite_clients is empty.
    assert forwarded.source is smtpx.ForwardedSource.REMOTE
