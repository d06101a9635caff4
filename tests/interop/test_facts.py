"""What is said of others in docs/explanation/interop-facts.md, asked of themselves.

The page names what our ends do about each fact; here the programs show that it is one.
"""

from __future__ import annotations

import asyncio
import queue
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.client.options import Auth
from tests.interop.fronts import Delivery, Front, deliver
from tests.interop.maildir import as_sent, split_trace
from tests.interop.messages import TRICKY
from tests.interop.names import HELLO_NAME, PASSWORD, SENDER, USER
from tests.interop.programs import HOST, find_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.certificates import ServerFiles
    from tests.interop.exim import Exim
    from tests.interop.postfix import Postfix

pytestmark = pytest.mark.interop

FRONTS = pytest.mark.parametrize("front", Front)
RECIPIENT = "user@example.com"
PATIENCE_SECONDS = 30.0


async def say(port: int, *flights: bytes) -> list[bytes]:
    """Say flights as they are, each behind the reply before; return all replies.

    The last reply is the one to the last line, or the last before the end.
    """
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            replies = [await read_reply(reader)]
            for flight in flights:
                writer.write(flight)
                lines = flight.count(b"\n")
                replies += [await read_reply(reader) for _ in range(lines)]
            return [reply for reply in replies if reply]
        finally:
            writer.close()
            await writer.wait_closed()


async def read_reply(reader: asyncio.StreamReader) -> bytes:
    """Read a reply, of several lines maybe; nothing at the end."""
    lines = b""
    while line := await reader.readline():
        lines += line
        if line[3:4] == b" ":
            break
    return lines


def code_of(reply: bytes) -> int:
    return int(reply[:3])


# ----------------------------------------------------------------------- pipelining


async def test_postfix_closes_on_commands_before_ehlo_was_answered(
    postfix: Postfix,
) -> None:
    flight = b"EHLO client.example\r\nMAIL FROM:<a@example.com>\r\n"
    replies = await say(postfix.strict_port, flight)
    assert [code_of(reply) for reply in replies] == [220, 554]
    assert b"synchronization" in replies[-1]


@FRONTS
async def test_our_client_waits_for_postfix(front: Front, postfix: Postfix) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT])
    await deliver(front, f"smtp+plain://{HOST}:{postfix.strict_port}", delivery)
    assert as_sent(postfix.user.take_next()) == TRICKY


async def test_our_client_waits_for_postfix_before_it_sends_many(
    postfix: Postfix,
) -> None:
    count = 20
    url = f"smtp+plain://{HOST}:{postfix.strict_port}"
    envelope = smtpx.Outgoing(TRICKY, SENDER, [RECIPIENT])
    async with smtpx.AsyncClient(
        url, options=smtpx.ClientOptions(hello_name=HELLO_NAME)
    ) as client:
        outcomes = [one async for one in client.send_many([envelope] * count)]
    assert [one.delivery for one in outcomes] == [smtpx.Delivery.DELIVERED] * count
    for _ in range(count):
        assert as_sent(postfix.user.take_next()) == TRICKY


# ------------------------------------------------------------------------- CHUNKING


async def test_exim_takes_bdat_of_those_only_to_whom_it_offered_it(exim: Exim) -> None:
    hello = b"EHLO client.example\r\n"
    begin = b"MAIL FROM:<a@example.com>\r\n"
    *_, ehlo, _, reply = await say(exim.auth_port, hello, begin, b"BDAT 0 LAST\r\n")
    assert b"CHUNKING" not in ehlo
    assert code_of(reply) == 503
    assert b"not advertised" in reply
    *_, ehlo = await say(exim.port, hello)
    assert b"CHUNKING" in ehlo


@FRONTS
async def test_our_client_says_no_bdat_to_an_exim_that_does_not_offer_it(
    front: Front, exim: Exim, certificates: ServerFiles
) -> None:
    delivery = Delivery(TRICKY, recipients=[RECIPIENT], auth=Auth(USER, PASSWORD))
    delivery = delivery.trusting(certificates).chunked(smtpx.Chunking.ALWAYS)
    await deliver(front, f"smtp+starttls://{HOST}:{exim.auth_port}", delivery)
    assert as_sent(exim.user.take_next()) == TRICKY


# ----------------------------------------------------------------------------- AUTH


@FRONTS
async def test_postfix_offers_auth_in_both_forms(
    front: Front, postfix: Postfix
) -> None:
    *_, ehlo = await say(postfix.strict_port, b"EHLO client.example\r\n")
    assert b"250-AUTH PLAIN" in ehlo
    assert b"250-AUTH=PLAIN" in ehlo
    auth = Auth(USER, PASSWORD, mechanisms=("LOGIN",))
    delivery = Delivery(TRICKY, recipients=[RECIPIENT], auth=auth)
    await deliver(front, f"smtp+plain://{HOST}:{postfix.strict_port}", delivery)
    delivered = postfix.user.take_next()
    assert b" with ESMTPA id " in split_trace(delivered)[0]


async def test_curl_sends_the_name_with_auth_login(tmp_path: Path) -> None:
    """As Outlook does."""
    users: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    lines: list[str] = []

    class Inbox(smtpx.Session):
        async def check_password(self, user: str, password: str) -> bool:
            return (user, password) == (USER, PASSWORD)

        async def data(self, body: smtpx.Body) -> None:
            users.put(self.connection.user)

    options = smtpx.ServerOptions(
        hostname="mx.example",
        wire_log=lambda _session, line: lines.append(line),
    )
    message = tmp_path / "message"
    message.write_bytes(TRICKY)
    async with smtpx.Server(Inbox, f"{HOST}:0", options=options) as server:
        process = await asyncio.create_subprocess_exec(
            find_program("curl", "curl"),
            *("--silent", "--sasl-ir", "--login-options", "AUTH=LOGIN"),
            *("--user", f"{USER}:{PASSWORD}", "--upload-file", str(message)),
            *("--mail-from", SENDER, "--mail-rcpt", RECIPIENT),
            f"smtp://{server.addresses[0]}/{HELLO_NAME}",
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await process.wait() == 0
    assert users.get_nowait() == USER
    # The name came with the command: one challenge, for the password.
    assert sum("334" in line for line in lines) == 1


# -------------------------------------------------------------------------- XCLIENT


XCLIENT_DIALOGUE = (
    b"EHLO gateway.example\r\n",
    b"XCLIENT HELO=spike.example PROTO=ESMTP\r\n",
    b"XCLIENT NAME=spike.example ADDR=192.0.2.7 HELO=spike.example PROTO=ESMTP\r\n",
    b"XCLIENT ADDR=127.0.0.1\r\n",
)


async def test_postfix_and_we_answer_repeated_xclient_alike(postfix: Postfix) -> None:
    theirs = await say(postfix.gateway_port, *XCLIENT_DIALOGUE)
    options = smtpx.ServerOptions(
        hostname="mx.example", xclient_networks=("127.0.0.0/8",)
    )
    async with smtpx.Server(smtpx.Session, f"{HOST}:0", options=options) as server:
        port = int(server.addresses[0].rpartition(":")[2])
        ours = await say(port, *XCLIENT_DIALOGUE)
    # The client that was told is no gateway.
    assert [code_of(reply) for reply in theirs] == [220, 250, 220, 220, 550]
    assert [code_of(reply) for reply in ours] == [220, 250, 220, 220, 502]


@FRONTS
async def test_our_client_repeats_xclient_to_postfix(
    front: Front, postfix: Postfix
) -> None:
    # HELO and PROTO hold for the session that begins with the command.
    first = smtpx.XClient(helo="spike.example", proto="ESMTP")
    last = replace(first, name="spike.example", addr="192.0.2.7")
    url = f"smtp+plain://{HOST}:{postfix.gateway_port}"
    options = smtpx.ClientOptions(hello_name=HELLO_NAME)
    if front is Front.BLOCKING:
        with smtpx.Client(url, options=options) as client:
            assert [client.xclient(one).code for one in (first, last)] == [220, 220]
            client.send(TRICKY, sender=SENDER, recipients=[RECIPIENT])
    else:
        async with smtpx.AsyncClient(url, options=options) as aclient:
            for one in (first, last):
                assert (await aclient.xclient(one)).code == 220
            await aclient.send(TRICKY, sender=SENDER, recipients=[RECIPIENT])
    trace = split_trace(postfix.user.take_next())[0]
    assert b"from spike.example (spike.example [192.0.2.7])" in trace
