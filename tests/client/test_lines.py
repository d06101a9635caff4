"""Lines over 998 octets: found at n + 1, however the message is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from smtpx.client.lines import has_long_line, watched
from smtpx.errors import LineTooLong
from smtpx.wire.options import BodyType, MailOptions
from tests.client.scripted import OPTIONS, Scripted, hello, step

STRICT = replace(OPTIONS, long_lines=False)

SHORT = [
    b"",
    b"x" * 998,
    b"x" * 998 + b"\r\n",
    b"x" * 998 + b"\n",
    (b"x" * 998 + b"\r\n") * 5,
    (b"x" * 998 + b"\n") * 5,
    b"short\r\n" * 500 + b"x" * 998 + b"\r\n",
    b"short\r\n" + b"x" * 998 + b"\n" + b"x" * 998 + b"\r\n",
    b"\n" * 5_000,
    b"x" * 500 + b"\n" + b"x" * 498 + b"\n" + b"y" * 998,
]
LONG = [
    b"x" * 999,
    b"x" * 999 + b"\r\n",
    b"x" * 999 + b"\n",
    (b"x" * 998 + b"\r\n") * 5 + b"x" * 999 + b"\r\n",
    b"x" * 999 + b"\r\n" + b"short\r\n" * 500,
    b"short\r\n" * 500 + b"x" * 999 + b"\n" + b"short\n" * 500,
    b"x" * 100_000,
]
CASES = [*((one, False) for one in SHORT), *((one, True) for one in LONG)]


@pytest.mark.parametrize(("content", "expected"), CASES)
def test_in_memory(content: bytes, expected: bool) -> None:
    assert has_long_line(content) is expected


async def cut(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("size", [1, 997, 998, 999, 1000, 1001, 65_536])
@pytest.mark.parametrize(("content", "expected"), CASES)
def test_in_blocks(content: bytes, expected: bool, size: int) -> None:
    if size == 1 and len(content) > 10_000:
        content = content[:10_000]

    async def read() -> bytes:
        return b"".join([block async for block in watched(cut(content, size))])

    if expected:
        with pytest.raises(LineTooLong, match="quoted-printable"):
            step(read())
    else:
        assert step(read()) == content


@pytest.mark.parametrize("length", [998, 999])
def test_nothing_is_sent_of_a_message_in_memory(length: int) -> None:
    line = b"x" * length + b"\r\n"
    script = hello() + "C: NOOP\nS: 250 ok"
    if length == 998:
        script = hello() + "C: MAIL FROM:<a@a.test>\nS: 550 no\n" + "C: NOOP\nS: 250 ok"
    scripted = Scripted(script, options=STRICT)
    with pytest.raises(Exception, match="refused" if length == 998 else "998"):
        scripted(
            lambda client: client.send(line, sender="a@a.test", recipients="b@b.test")
        )
    scripted(lambda client: client.noop())
    scripted.require_end()


def test_a_stream_is_given_up_at_the_line() -> None:
    script = (
        hello() + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok"
        "\nC: DATA\nS: 354 go on\nC| " + "short\\r\\n" * 10_000
    )
    scripted = Scripted(script, options=STRICT)

    def blocks() -> list[bytes]:
        return [b"short\r\n" * 10_000, b"x" * 1_000, b"more"]

    with pytest.raises(LineTooLong):
        scripted(
            lambda client: client.send(
                blocks(), sender="a@a.test", recipients="b@b.test"
            )
        )
    assert scripted.channel.is_aborted, "the end was not sent, nor ever can be"
    assert not any(write.endswith(b"\r\n.\r\n") for write in scripted.channel.writes)


def test_binary_content_has_no_lines() -> None:
    script = (
        hello("BINARYMIME", "CHUNKING")
        + "C: MAIL FROM:<a@a.test> BODY=BINARYMIME\nS: 250 ok\n"
        "C: RCPT TO:<b@b.test>\nS: 250 ok\nC: BDAT 2000 LAST\nC| "
        + "x" * 2_000
        + "\nS: 250 taken\n"
    )
    scripted = Scripted(script, options=STRICT)
    options = MailOptions(body=BodyType.BINARYMIME)
    scripted(
        lambda client: client.send(
            b"x" * 2_000, sender="a@a.test", recipients="b@b.test", options=options
        )
    )
    scripted.require_end()
