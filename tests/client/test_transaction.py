"""Sending a message: flights, partial acceptance, chunks, and every way to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.options import Chunking
from smtpx.errors import (
    ConnectionLost,
    DataRefused,
    Delivery,
    MessageTooLarge,
    NotSupported,
    OutOfStep,
    PhaseTimeout,
    RecipientsRefused,
    SenderRefused,
    SendError,
)
from smtpx.wire.address import Mailbox
from smtpx.wire.options import BodyType, MailOptions, Notify, RcptOptions
from tests.client.scripted import OPTIONS, Scripted, hello, step

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.client.message import MessageSource
    from smtpx.wire.envelope import SendResult

TO_BOB: dict[str, Any] = {"sender": "a@a.test", "recipients": "b@b.test"}
TO_THREE: dict[str, Any] = {
    "sender": "a@a.test",
    "recipients": ["b@b.test", "c@b.test", "d@b.test"],
}
# The envelope with the content in one flight.
FLIGHT = (
    "C| MAIL FROM:<a@a.test>\\r\\nRCPT TO:<b@b.test>\\r\\nBDAT 3 LAST\\r\\nx\\r\\n\n"
)
PIPELINING = hello("PIPELINING", "SIZE 1000")
CHUNKING = hello("PIPELINING", "CHUNKING")


def send(
    scripted: Scripted,
    message: MessageSource = b"x",
    **arguments: Any,  # noqa: ANN401 - what `send` takes
) -> SendResult:
    return step(scripted.client.send(message, **{**TO_BOB, **arguments}))


# --- One message. ---


def test_lock_step() -> None:
    scripted = Scripted(
        hello("SIZE 1000")
        + """
        C: MAIL FROM:<a@a.test> SIZE=3
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C: DATA
        S: 354 go
        C: x
        C: .
        S: 250 2.0.0 Ok: queued as 4XkQ
        """
    )
    result = send(scripted)
    assert result.queue_id == "4XkQ"
    assert result.reply is not None
    assert result.reply.code == 250
    assert [one.is_accepted for one in result.recipients] == [True]
    scripted.require_end()
    # Content and final dot share a write.
    assert scripted.channel.writes[-1] == b"x\r\n.\r\n"


def test_one_flight_for_the_envelope_and_one_for_the_content() -> None:
    scripted = Scripted(
        PIPELINING
        + """
        C: MAIL FROM:<a@a.test> SIZE=3
        C: RCPT TO:<b@b.test>
        C: RCPT TO:<c@b.test>
        C: RCPT TO:<d@b.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 5.1.1 no such mailbox
        S: 452 4.5.3 too many
        S: 354 go
        C: x
        C: .
        S: 250 ok
        """
    )
    result = send(scripted, **TO_THREE)
    assert [one.recipient for one in result.accepted] == ["b@b.test"]
    refused = [(one.recipient, str(one.reply)) for one in result.refused]
    assert refused == [
        ("c@b.test", "550 5.1.1 no such mailbox"),
        ("d@b.test", "452 4.5.3 too many"),
    ]
    scripted.require_end()
    assert len(scripted.channel.writes) == 1 + 2


def test_pipelining_can_be_switched_off() -> None:
    scripted = Scripted(
        PIPELINING + "C: MAIL FROM:<a@a.test> SIZE=3\nS: 250 ok\n"
        "C: RCPT TO:<b@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: x\nC: .\nS: 250 ok",
        options=replace(OPTIONS, pipelining=False),
    )
    send(scripted)
    scripted.require_end()


def test_many_recipients_go_in_several_flights() -> None:
    """So many replies must never be outstanding that they fill all buffers."""
    names = [f"u{number}@b.test" for number in range(2500)]
    envelope = ["C: MAIL FROM:<a@a.test>"]
    for start in range(0, 2500, 1000):
        flight = names[start : start + 1000]
        envelope += [f"C: RCPT TO:<{name}>" for name in flight]
        envelope += ["C: DATA"] if start == 2000 else []
        envelope += ["S: 250 ok"] * (len(flight) + (start == 0))
    script = hello("PIPELINING") + "\n".join(envelope)
    scripted = Scripted(script + "\nS: 354 go\nC: x\nC: .\nS: 250 ok")
    result = send(scripted, recipients=names)
    assert len(result.accepted) == 2500
    scripted.require_end()
    assert len(scripted.channel.writes) == 1 + 3 + 1


def test_small_message_goes_along_as_a_chunk() -> None:
    """One round trip for everything."""
    scripted = Scripted(
        CHUNKING
        + r"""
        C| MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nBDAT 5 LAST\r\n.x\n\r\n
        """.replace(r"\n\r\n", r"\r\n.\r\n").replace("5 LAST", "7 LAST")
        + "S: 250 ok\nS: 250 ok\nS: 250 2.0.0 Ok: queued as Q1"
    )
    result = send(scripted, b".x\n.\n")
    assert result.queue_id == "Q1"
    scripted.require_end()
    assert len(scripted.channel.writes) == 2


@pytest.mark.parametrize(
    ("keywords", "chunking", "size", "uses_bdat"),
    [
        (("PIPELINING", "CHUNKING"), Chunking.AUTO, 65_536, True),
        (("PIPELINING", "CHUNKING"), Chunking.AUTO, 65_537, False),
        (("PIPELINING", "CHUNKING"), Chunking.NEVER, 10, False),
        (("CHUNKING",), Chunking.AUTO, 10, False),
        (("CHUNKING",), Chunking.ALWAYS, 10, True),
        (("PIPELINING", "CHUNKING"), Chunking.ALWAYS, 65_537, True),
        (("PIPELINING",), Chunking.ALWAYS, 10, False),
    ],
)
def test_when_chunks_are_worth_it(
    keywords: tuple[str, ...], chunking: Chunking, size: int, uses_bdat: bool
) -> None:
    message = b"x" * (size - 2) + b"\r\n"
    scripted = Scripted(hello(*keywords), options=replace(OPTIONS, chunking=chunking))
    step(scripted.client.connect())
    channel = scripted.channel
    written = bytearray()

    async def record(data: bytes | memoryview, *, timeout: float | None) -> None:
        written.extend(data)
        for line in bytes(data).split(b"\r\n"):
            verb = line[:4]
            if verb in {b"MAIL", b"RCPT", b"BDAT"} or line == b".":
                channel.steps.append(("S", b"250 ok\r\n"))
            elif verb == b"DATA":
                channel.steps.append(("S", b"354 go\r\n"))

    channel.send = record  # type: ignore[method-assign]
    send(scripted, message)
    assert (b"BDAT" in written) is uses_bdat
    assert message in bytes(written).replace(b"BDAT 1 LAST\r\n", b"").replace(
        b"BDAT 65536\r\n", b""
    )


def test_null_reverse_path_and_mailboxes() -> None:
    scripted = Scripted(
        hello() + "C: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok\n"
        "C: RCPT TO:<b@b.test>\nS: 250 ok\nC: DATA\nS: 354 go\nC: .\nS: 250 ok"
    )
    bob = Mailbox("b", "b.test")
    result = send(scripted, b"", sender="", recipients=[bob, "b@b.test"])
    assert [one.recipient for one in result.recipients] == ["b@b.test", "b@b.test"]
    scripted.require_end()


def test_options_reach_the_commands() -> None:
    scripted = Scripted(
        hello("DSN", "8BITMIME")
        + """
        C: MAIL FROM:<a@a.test> BODY=7BIT ENVID=x
        S: 250 ok
        C: RCPT TO:<b@b.test> NOTIFY=NEVER
        S: 250 ok
        C: RCPT TO:<c@b.test>
        S: 250 ok
        C: DATA
        S: 354 go
        C: x
        C: .
        S: 250 ok
        """
    )
    send(
        scripted,
        recipients=["b@b.test", "c@b.test"],
        options=MailOptions(envelope_id="x", body=BodyType.SEVENBIT),
        rcpt_options={"b@b.test": RcptOptions(notify=(Notify.NEVER,))},
    )
    scripted.require_end()


def test_rcpt_options_for_all() -> None:
    scripted = Scripted(
        hello("DSN", "PIPELINING")
        + "C: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test> NOTIFY=NEVER\nC: DATA\n"
        "S: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 ok"
    )
    send(scripted, rcpt_options=RcptOptions(notify=(Notify.NEVER,)))
    scripted.require_end()


def test_addresses_come_from_the_message() -> None:
    message = EmailMessage()
    message["From"] = "A <a@a.test>"
    message["To"] = "b@b.test"
    message["Bcc"] = "c@c.test"
    message.set_content("hi\n")
    scripted = Scripted(
        hello("PIPELINING")
        + "C: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test>\nC: RCPT TO:<c@c.test>\n"
        "C: DATA\nS: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354 go\n"
        "C: From: A <a@a.test>\nC: To: b@b.test\n"
        'C: Content-Type: text/plain; charset="utf-8"\n'
        "C: Content-Transfer-Encoding: 7bit\nC: MIME-Version: 1.0\n"
        "C| \\r\\nhi\\r\\n.\\r\\n\nS: 250 ok"
    )
    step(scripted.client.send(message))
    assert message["Bcc"] == "c@c.test"
    scripted.require_end()


@pytest.mark.parametrize(
    "arguments",
    [
        {"sender": None},
        {"recipients": None},
        {"recipients": []},
        {"recipients": ["b@b.test", "no address"]},
        {"sender": "a"},
        {"rcpt_options": {"x@b.test": RcptOptions()}},
    ],
)
def test_bad_arguments_are_found_before_connecting(arguments: dict[str, Any]) -> None:
    scripted = Scripted()
    with pytest.raises(ValueError, match=r"."):
        send(scripted, **arguments)
    assert scripted.runtime.dialled == []


# --- Refusals, and the transaction after one. ---

NEXT = """
C: MAIL FROM:<a@a.test>
C: RCPT TO:<b@b.test>
C: DATA
S: 250 ok
S: 250 ok
S: 354 go
C: x
C: .
S: 250 ok
"""
NEXT_BEHIND_RESET = NEXT.replace("C: MAIL", "C: RSET\nC: MAIL").replace(
    "S: 250 ok\nS: 250 ok\nS: 354", "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 354"
)
ENVELOPE = "C: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test>\nC: DATA\n"


@pytest.mark.parametrize(
    ("replies", "kind", "after"),
    [
        ("S: 550 no\nS: 503 x\nS: 503 x", SenderRefused, NEXT),
        ("S: 450 no\nS: 503 x\nS: 503 x", SenderRefused, NEXT),
        ("S: 250 ok\nS: 550 no\nS: 503 x", RecipientsRefused, NEXT_BEHIND_RESET),
        ("S: 250 ok\nS: 550 no\nS: 554 x", RecipientsRefused, NEXT_BEHIND_RESET),
        ("S: 250 ok\nS: 250 ok\nS: 451 no", DataRefused, NEXT_BEHIND_RESET),
        (
            "S: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 554 spam",
            DataRefused,
            NEXT_BEHIND_RESET,
        ),
        # A server that takes DATA although there is nobody to get it.
        (
            "S: 250 ok\nS: 550 no\nS: 354 go\nC: .\nS: 554 no recipients",
            RecipientsRefused,
            NEXT_BEHIND_RESET,
        ),
        (
            "S: 250 ok\nS: 550 no\nS: 354 go\nC: .\nS: 250 queued nothing",
            RecipientsRefused,
            NEXT,
        ),
        (
            "S: 550 no\nS: 503 no\nS: 354 go\nC: .\nS: 554 no",
            SenderRefused,
            NEXT_BEHIND_RESET,
        ),
    ],
)
def test_refusals_leave_the_connection_in_step(
    replies: str, kind: type[SendError], after: str
) -> None:
    scripted = Scripted(hello("PIPELINING") + ENVELOPE + replies + "\n" + after)
    with pytest.raises(kind) as caught:
        send(scripted)
    assert caught.value.delivery is Delivery.REFUSED
    assert scripted.client.is_connected
    send(scripted)
    scripted.require_end()


@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ("S: 550 no", SenderRefused),
        ("S: 250 ok\nC: RCPT TO:<b@b.test>\nS: 550 no", RecipientsRefused),
        (
            "S: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok\nC: DATA\nS: 451 no",
            DataRefused,
        ),
    ],
)
def test_refusals_in_lock_step_end_the_transaction(
    replies: str, kind: type[SendError]
) -> None:
    reset = "" if kind is SenderRefused else "C: RSET\nS: 250 ok\n"
    scripted = Scripted(
        hello()
        + f"C: MAIL FROM:<a@a.test>\n{replies}\n{reset}"
        + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok\n"
        + "C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 ok"
    )
    with pytest.raises(kind):
        send(scripted)
    send(scripted)
    scripted.require_end()


def test_all_refused_says_so_for_each() -> None:
    scripted = Scripted(
        hello("PIPELINING")
        + "C: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test>\nC: RCPT TO:<c@b.test>\n"
        "C: RCPT TO:<d@b.test>\nC: DATA\nS: 250 ok\nS: 550 one\nS: 450 two\n"
        "S: 550 three\nS: 503 no"
    )
    with pytest.raises(RecipientsRefused) as caught:
        send(scripted, **TO_THREE)
    assert caught.value.recipients == {
        "b@b.test": (550, b"one"),
        "c@b.test": (450, b"two"),
        "d@b.test": (550, b"three"),
    }
    assert len(caught.value.results) == 3
    assert not caught.value.is_temporary


@pytest.mark.parametrize("keywords", [("PIPELINING",), ("PIPELINING", "CHUNKING"), ()])
def test_require_all_sends_nothing_if_one_is_refused(keywords: tuple[str, ...]) -> None:
    scripted = Scripted(hello(*keywords))
    step(scripted.client.connect())
    channel = scripted.channel
    replies = iter(["250 ok", "250 ok", "550 no", "250 ok"])
    written = []

    async def answer(data: bytes | memoryview, *, timeout: float | None) -> None:
        for line in bytes(data).splitlines():
            written.append(line[:4])
            channel.steps.append(("S", next(replies).encode() + b"\r\n"))

    channel.send = answer  # type: ignore[method-assign]
    with pytest.raises(RecipientsRefused) as caught:
        send(scripted, require_all=True, **TO_THREE)
    assert written == [b"MAIL", b"RCPT", b"RCPT", b"RCPT"]
    assert [one.is_accepted for one in caught.value.results] == [False] * 3
    assert caught.value.recipients == {"c@b.test": (550, b"no")}
    assert scripted.client.is_connected


def test_require_all_sends_if_none_is_refused() -> None:
    scripted = Scripted(
        CHUNKING
        + "C: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test>\nS: 250 ok\nS: 250 ok\n"
        "C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 ok"
    )
    send(scripted, require_all=True)
    scripted.require_end()


def test_refused_envelope_takes_its_chunk_along() -> None:
    reset = FLIGHT.replace("C| ", "C| RSET\\r\\n")
    scripted = Scripted(
        CHUNKING
        + f"{FLIGHT}S: 250 ok\nS: 550 no\nS: 503 no recipients\n"
        + f"{reset}S: 250 ok\nS: 550 no\nS: 503 x\nS: 503 x\n"
        + f"{FLIGHT}S: 250 ok\nS: 250 ok\nS: 554 spam\n"
        + f"C: RSET\nS: 250 ok\n{FLIGHT}S: 250 ok\nS: 250 ok\nS: 250 queued as Q"
    )
    for kind in (RecipientsRefused, SenderRefused, DataRefused):
        with pytest.raises(kind):
            send(scripted)
        assert scripted.client.is_connected
    assert send(scripted).queue_id == "Q"
    scripted.require_end()


def test_refused_reset_is_out_of_step() -> None:
    scripted = Scripted(
        hello()
        + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 550 no\n"
        "C: RSET\nS: 500 what?",
    )
    with pytest.raises(RecipientsRefused):
        send(scripted)
    with pytest.raises(OutOfStep, match="RSET"):
        send(scripted)
    assert not scripted.client.is_connected


def test_content_waits_for_the_reset_of_a_transaction_with_recipients() -> None:
    """Found by the matrix: behind a refused RSET it was for the recipients before."""
    scripted = Scripted(
        CHUNKING
        + f"{FLIGHT}S: 250 ok\nS: 250 ok\nS: 554 spam\n"
        + "C: RSET\nS: 450 not now",
    )
    with pytest.raises(DataRefused):
        send(scripted)
    with pytest.raises(OutOfStep, match="RSET") as caught:
        send(scripted)
    assert caught.value.delivery is Delivery.NOT_SENT
    scripted.require_end()


# --- Content. ---


def blocks_of(*blocks: bytes) -> Iterator[bytes]:
    yield from blocks


async def awaited_blocks_of(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


DATA_OK = ENVELOPE + "S: 250 ok\nS: 250 ok\nS: 354 go\n"


@pytest.mark.parametrize("make", [blocks_of, awaited_blocks_of])
def test_streams_are_normalised_and_stuffed_over_their_blocks(
    make: Callable[..., MessageSource],
) -> None:
    scripted = Scripted(
        hello("PIPELINING") + DATA_OK + "C: a\nC: ..b\nC: c\nC: .\nS: 250 ok"
    )
    send(scripted, make(b"a\r", b"\n", b"", b".", b"b\n", b"c"))
    scripted.require_end()


def test_large_content_goes_in_blocks() -> None:
    line = b"x" * 62 + b"\r\n"
    message = line * 10_000
    text = "C: " + "x" * 62 + "\n"
    scripted = Scripted(
        hello("PIPELINING", "SIZE")
        + DATA_OK.replace("<a@a.test>", "<a@a.test> SIZE=640000")
        + text * 10_000
        + "C: .\nS: 250 ok"
    )
    send(scripted, message)
    scripted.require_end()
    assert [len(data) for data in scripted.channel.writes[2:]] == [
        262_144,
        262_144,
        640_000 - 2 * 262_144,
        3,
    ]


@pytest.mark.parametrize("code", [421, 452, 552])
def test_refusal_before_the_end_is_heard(code: int) -> None:
    """The server has enough: no reason to send the rest, or to say "broken pipe"."""
    block = b"x" * 262_144
    script = hello("PIPELINING") + DATA_OK + "C| " + "x" * 262_144
    scripted = Scripted(script + f"\nS| !{code} enough\\r\\n")
    with pytest.raises((DataRefused, ConnectionLost)) as caught:
        send(scripted, block * 3)
    assert caught.value.reply is not None
    assert caught.value.reply.code == code
    assert caught.value.delivery is Delivery.REFUSED
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected


def test_last_words_before_a_broken_pipe_are_heard() -> None:
    scripted = Scripted(
        hello("PIPELINING")
        + DATA_OK
        + "== UNREADABLE ==\nS: 552 5.3.4 too large\n== EOF =="
    )
    with pytest.raises(DataRefused, match="before its end") as caught:
        send(scripted, b"x" * 100_000)
    assert caught.value.smtp_code == 552
    assert scripted.channel.is_aborted


@pytest.mark.parametrize("end", ["== EOF ==", "== RESET =="])
def test_broken_pipe_without_last_words(end: str) -> None:
    scripted = Scripted(hello("PIPELINING") + DATA_OK + f"== UNREADABLE ==\n{end}")
    with pytest.raises(ConnectionLost) as caught:
        send(scripted, b"x" * 100_000)
    assert caught.value.delivery is Delivery.NOT_SENT


class Unwell(OSError):
    """What a file on a failing disk raises."""


def failing() -> Iterator[bytes]:
    yield b"x" * 70_000
    raise Unwell("disk failure")


def test_failing_source_raises_its_own_error_and_sends_no_end() -> None:
    scripted = Scripted(hello("PIPELINING") + DATA_OK + "C| " + "x" * 65_536)
    with pytest.raises(Unwell, match="disk failure"):
        send(scripted, failing())
    assert scripted.channel.is_aborted
    assert not scripted.channel.writes[-1].endswith(b".\r\n")
    scripted.require_end()


def test_source_that_fails_at_once_is_found_before_connecting() -> None:
    class Bad:
        def read(self, size: int) -> bytes:
            raise Unwell("disk failure")

    scripted = Scripted()
    with pytest.raises(Unwell):
        send(scripted, Bad())
    assert scripted.runtime.dialled == []


def test_eight_bit_that_turns_up_late_ends_it() -> None:
    scripted = Scripted(hello("PIPELINING") + DATA_OK + "C| " + "x" * 65_536)
    with pytest.raises(NotSupported, match="8BITMIME"):
        send(scripted, blocks_of(b"x" * 65_536, "grå".encode()))
    assert scripted.channel.is_aborted


# --- Chunks. ---


def test_binary_goes_in_chunks_as_it_is() -> None:
    binary = bytes(range(256)) * 300
    keywords = ("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME")
    scripted = Scripted(hello(*keywords))
    step(scripted.client.connect())
    channel = scripted.channel
    written = bytearray()
    answered = 0

    async def answer(data: bytes | memoryview, *, timeout: float | None) -> None:
        nonlocal answered
        written.extend(data)
        answered += 1
        count = sum(map(bytes(data).count, (b"MAIL", b"RCPT", b"BDAT")))
        channel.steps.extend([("S", b"250 ok\r\n")] * count)

    channel.send = answer  # type: ignore[method-assign]
    send(scripted, binary, options=MailOptions(body=BodyType.BINARYMIME))
    assert bytes(written) == (
        b"MAIL FROM:<a@a.test> BODY=BINARYMIME\r\nRCPT TO:<b@b.test>\r\n"
        b"BDAT 65536\r\n"
        + binary[:65_536]
        + b"BDAT %d LAST\r\n" % (len(binary) - 65_536)
        + binary[65_536:]
    )


def chunks(count: int, size: int = 65_536) -> str:
    return "".join(f"C| BDAT {size}\\r\\n" + "x" * size + "\n" for _ in range(count))


ALWAYS = replace(OPTIONS, chunking=Chunking.ALWAYS)
RCPT_OK = "C: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test>\nS: 250 ok\nS: 250 ok\n"


def test_chunks_are_sent_ahead_of_their_replies() -> None:
    scripted = Scripted(
        CHUNKING
        + RCPT_OK
        + chunks(5)
        + "S: 250 one\n"
        + chunks(1)
        + "S: 250 two\nC| BDAT 2 LAST\\r\\n\\r\\n\n"
        + "S: 250 3\nS: 250 4\nS: 250 5\nS: 250 6\nS: 250 queued as Q",
        options=ALWAYS,
    )
    assert send(scripted, b"x" * 65_536 * 6).queue_id == "Q"
    scripted.require_end()


def test_stream_in_chunks_is_normalised() -> None:
    scripted = Scripted(
        CHUNKING + RCPT_OK + "C| BDAT 6 LAST\\r\\na\\r\\nb\\r\\n\nS: 250 queued as Q",
        options=ALWAYS,
    )
    assert send(scripted, blocks_of(b"a", b"\n", b"b")).queue_id == "Q"
    scripted.require_end()


def test_empty_stream_is_an_empty_last_chunk() -> None:
    scripted = Scripted(
        CHUNKING + RCPT_OK + "C: BDAT 0 LAST\nS: 250 ok", options=ALWAYS
    )
    send(scripted, blocks_of())
    scripted.require_end()


def test_without_pipelining_each_chunk_waits() -> None:
    scripted = Scripted(
        hello("CHUNKING")
        + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok\n"
        + chunks(1)
        + "S: 250 one\nC| BDAT 2 LAST\\r\\n\\r\\n\nS: 250 queued as Q",
        options=ALWAYS,
    )
    assert send(scripted, b"x" * 65_536).queue_id == "Q"
    scripted.require_end()


def test_refused_chunk_stops_the_message_and_is_reset() -> None:
    scripted = Scripted(
        CHUNKING
        + RCPT_OK
        + chunks(5)
        + "S: 552 too large\nS: 503 x\nS: 503 x\nS: 503 x\nS: 503 x\n"
        + "C: RSET\nC: MAIL FROM:<a@a.test>\nC: RCPT TO:<b@b.test>\n"
        + "S: 250 ok\nS: 250 ok\nS: 250 ok\n"
        + "C| BDAT 3 LAST\\r\\nx\\r\\n\nS: 250 ok",
        options=ALWAYS,
    )
    with pytest.raises(DataRefused) as caught:
        send(scripted, blocks_of(*[b"x" * 65_536] * 20))
    assert caught.value.smtp_code == 552
    assert caught.value.command == "BDAT"
    assert caught.value.delivery is Delivery.REFUSED
    assert scripted.client.is_connected
    send(scripted, blocks_of(b"x"))
    scripted.require_end()


def test_chunk_refused_behind_the_last_is_heard_too() -> None:
    scripted = Scripted(
        CHUNKING
        + RCPT_OK
        + chunks(1)
        + "C| BDAT 2 LAST\\r\\n\\r\\n\nS: 552 too large\nS: 503 x",
        options=ALWAYS,
    )
    with pytest.raises(DataRefused) as caught:
        send(scripted, b"x" * 65_536)
    assert caught.value.smtp_code == 552
    assert caught.value.delivery is Delivery.REFUSED
    assert scripted.client.is_connected


# --- LMTP. ---


def lmtp(*scripts: str) -> Scripted:
    return Scripted(*scripts, url="lmtp+unix:///run/lmtp")


def test_lmtp_has_a_status_for_each_recipient_by_position() -> None:
    scripted = lmtp(
        hello("PIPELINING", verb="LHLO")
        + """
        C: MAIL FROM:<a@a.test>
        C: RCPT TO:<b@b.test>
        C: RCPT TO:<c@b.test>
        C: RCPT TO:<b@b.test>
        C: DATA
        S: 250 ok
        S: 250 ok
        S: 550 no
        S: 250 ok
        S: 354 go
        C: x
        C: .
        S: 250 first
        S: 452 second is full
        """
    )
    names = ["b@b.test", "c@b.test", "b@b.test"]
    result = send(scripted, recipients=names)
    assert [(one.recipient, str(one.reply)) for one in result.recipients] == [
        ("b@b.test", "250 first"),
        ("c@b.test", "550 no"),
        ("b@b.test", "452 second is full"),
    ]
    assert [one.is_accepted for one in result.recipients] == [True, False, False]
    assert result.reply is None
    assert scripted.runtime.dialled == ["/run/lmtp"]
    scripted.require_end()


def test_lmtp_that_delivers_to_nobody() -> None:
    scripted = lmtp(
        hello("PIPELINING", verb="LHLO") + DATA_OK + "C: x\nC: .\nS: 452 4.2.2 full\n"
    )
    with pytest.raises(RecipientsRefused) as caught:
        send(scripted)
    assert caught.value.recipients == {"b@b.test": (452, b"4.2.2 full")}
    assert caught.value.is_temporary
    assert scripted.client.is_connected


def test_lmtp_with_a_chunk_in_the_flight() -> None:
    scripted = lmtp(
        hello("PIPELINING", "CHUNKING", verb="LHLO")
        + "C| MAIL FROM:<a@a.test>\\r\\nRCPT TO:<b@b.test>\\r\\n"
        + "RCPT TO:<c@b.test>\\r\\nBDAT 3 LAST\\r\\nx\\r\\n\n"
        + "S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 one\nS: 250 two"
    )
    result = send(scripted, recipients=["b@b.test", "c@b.test"])
    assert [str(one.reply) for one in result.accepted] == ["250 one", "250 two"]
    scripted.require_end()


def test_lmtp_chunks_wait_for_each_other() -> None:
    """How often the last is answered depends on how those before it went."""
    scripted = Scripted(
        hello("PIPELINING", "CHUNKING", verb="LHLO")
        + RCPT_OK
        + chunks(1)
        + "S: 250 chunk\nC| BDAT 2 LAST\\r\\n\\r\\n\nS: 250 one",
        url="lmtp+unix:///run/lmtp",
        options=ALWAYS,
    )
    result = send(scripted, b"x" * 65_536)
    assert [str(one.reply) for one in result.accepted] == ["250 one"]
    scripted.require_end()


def test_lmtp_that_takes_data_without_recipients_is_out_of_step() -> None:
    """How many replies follow the dot, nobody can know."""
    scripted = lmtp(
        hello("PIPELINING", verb="LHLO") + ENVELOPE + "S: 250 ok\nS: 550 no\nS: 354 go"
    )
    with pytest.raises(OutOfStep) as caught:
        send(scripted)
    assert caught.value.command == "DATA"
    assert scripted.channel.is_aborted


# --- What is known of the message when the connection ends. ---


@pytest.mark.parametrize("end", ["== EOF ==", "== RESET ==", "== TIMEOUT ==", "S: 25"])
@pytest.mark.parametrize(
    ("script", "delivery"),
    [
        (ENVELOPE, Delivery.NOT_SENT),
        (ENVELOPE + "S: 250 ok\nS: 250 ok\n", Delivery.NOT_SENT),
        (DATA_OK + "C: x\nC: .\n", Delivery.UNKNOWN),
    ],
)
def test_delivery_state(script: str, delivery: Delivery, end: str) -> None:
    scripted = Scripted(hello("PIPELINING") + script + end)
    with pytest.raises(ConnectionLost) as caught:
        send(scripted)
    assert caught.value.delivery is delivery
    assert isinstance(caught.value, PhaseTimeout) is (end == "== TIMEOUT ==")
    assert scripted.channel.is_aborted


def test_chunk_on_its_way_may_have_been_delivered() -> None:
    scripted = Scripted(CHUNKING + FLIGHT + "== EOF ==")
    with pytest.raises(ConnectionLost) as caught:
        send(scripted)
    assert caught.value.delivery is Delivery.UNKNOWN


def test_delivery_of_one_message_is_not_taken_for_that_of_the_next() -> None:
    scripted = Scripted(
        hello("PIPELINING")
        + DATA_OK
        + "C: x\nC: .\nS: 250 ok\n"
        + ENVELOPE
        + "S: 250 ok\n== EOF =="
    )
    send(scripted)
    with pytest.raises(ConnectionLost) as caught:
        send(scripted)
    assert caught.value.delivery is Delivery.NOT_SENT


@pytest.mark.parametrize(
    ("replies", "kind", "recipient"),
    [
        ("S: 421 closing", SenderRefused, None),
        ("S: 250 ok\nS: 421 closing", ConnectionLost, "b@b.test"),
    ],
)
def test_goodbye_in_a_flight_ends_the_waiting(
    replies: str, kind: type[SendError], recipient: str | None
) -> None:
    scripted = Scripted(hello("PIPELINING") + ENVELOPE + replies)
    with pytest.raises(kind) as caught:
        send(scripted)
    assert caught.value.reply is not None
    assert caught.value.reply.code == 421
    assert caught.value.is_temporary
    assert caught.value.delivery is Delivery.REFUSED
    assert caught.value.recipient == recipient
    assert scripted.channel.is_aborted


# --- Connecting again. ---

ONE = ENVELOPE + "S: 250 ok\nS: 250 ok\nS: 354 go\nC: x\nC: .\nS: 250 ok\n"


def test_used_connection_that_was_closed_is_opened_again() -> None:
    scripted = Scripted(
        hello("PIPELINING") + ONE + "== EOF ==", hello("PIPELINING") + ONE
    )
    send(scripted)
    scripted.runtime.now += 1
    send(scripted)
    assert len(scripted.channels) == 2
    scripted.require_end()


@pytest.mark.parametrize(
    "end", ["== UNREADABLE ==", ENVELOPE + "== EOF ==", ENVELOPE + "== RESET =="]
)
def test_close_that_shows_only_when_writing_is_no_failure(end: str) -> None:
    scripted = Scripted(hello("PIPELINING") + ONE + end, hello("PIPELINING") + ONE)
    send(scripted)
    send(scripted)
    assert scripted.channels[0].is_aborted
    scripted.require_end()


@pytest.mark.parametrize(
    "answer",
    [
        "S: 421 4.7.0 too many messages",
        "S: 452 4.5.3 too many messages sent\nS: 503 no\nS: 503 no",
    ],
)
def test_server_that_had_its_share_of_messages(answer: str) -> None:
    scripted = Scripted(
        hello("PIPELINING") + ONE + ENVELOPE + answer,
        hello("PIPELINING") + ONE,
    )
    send(scripted)
    send(scripted)
    scripted.require_end()


@pytest.mark.parametrize(
    "end",
    [
        ENVELOPE + "S: 250 ok\n== EOF ==",
        ENVELOPE + "== TIMEOUT ==",
        ENVELOPE + "S: 550 no\nS: 503 no\nS: 503 no",
        DATA_OK + "C: x\nC: .\n== EOF ==",
    ],
)
def test_nothing_is_tried_twice_once_the_server_took_it_in(end: str) -> None:
    scripted = Scripted(hello("PIPELINING") + ONE + end)
    send(scripted)
    with pytest.raises(SendError):
        send(scripted)
    scripted.require_end()


@pytest.mark.parametrize("opening", ["", ONE])
def test_first_message_refused_for_many_before_it(opening: str) -> None:
    """On a new connection, or for want of space, it is a refusal like others."""
    text = "452 4.5.3 too many" if not opening else "452 4.3.1 no space"
    answer = f"S: {text}\nS: 503 no\nS: 503 no"
    scripted = Scripted(hello("PIPELINING") + opening + ENVELOPE + answer)
    if opening:
        send(scripted)
    with pytest.raises(SenderRefused):
        send(scripted)
    scripted.require_end()


def test_fresh_connection_that_fails_is_a_failure() -> None:
    scripted = Scripted(hello("PIPELINING") + ENVELOPE + "== EOF ==")
    with pytest.raises(ConnectionLost):
        send(scripted)


def test_chunk_on_its_way_is_not_sent_twice() -> None:
    ok = "S: 250 ok\nS: 250 ok\nS: 250 ok\n"
    scripted = Scripted(CHUNKING + FLIGHT + ok + FLIGHT + "== EOF ==")
    send(scripted)
    with pytest.raises(ConnectionLost) as caught:
        send(scripted)
    assert caught.value.delivery is Delivery.UNKNOWN


def test_broken_connection_is_opened_again_by_the_next_message() -> None:
    scripted = Scripted(
        hello("PIPELINING") + ENVELOPE + "S: 250 ok\n== TIMEOUT ==",
        hello("PIPELINING") + ONE,
    )
    with pytest.raises(PhaseTimeout):
        send(scripted)
    send(scripted)
    scripted.require_end()


# --- Size. ---


def test_size_is_checked_before_anything_is_sent() -> None:
    scripted = Scripted(PIPELINING)
    with pytest.raises(MessageTooLarge) as caught:
        send(scripted, b"x" * 999)
    assert (caught.value.size, caught.value.limit) == (1001, 1000)
    assert caught.value.smtp_code == 552
    assert caught.value.delivery is Delivery.NOT_SENT
    assert scripted.client.is_connected
    assert len(scripted.channel.writes) == 1


# --- All in one call. ---


def test_send_once_quits() -> None:
    scripted = Scripted(hello("PIPELINING") + ONE + "C: QUIT\nS: 221 bye")
    step(scripted.client.send_once(b"x", **TO_BOB))
    assert scripted.channel.is_closed
    scripted.require_end()


def test_send_once_quits_after_a_refusal_too() -> None:
    scripted = Scripted(
        hello("PIPELINING") + ENVELOPE + "S: 550 no\nS: 503 x\nS: 503 x\nC: QUIT\n"
        "S: 221 bye"
    )
    with pytest.raises(SenderRefused):
        step(scripted.client.send_once(b"x", **TO_BOB))
    assert scripted.channel.is_closed
    scripted.require_end()


def test_delivered_message_stays_delivered_if_quit_fails() -> None:
    scripted = Scripted(hello("PIPELINING") + ONE + "C: QUIT\n== RESET ==")
    assert step(scripted.client.send_once(b"x", **TO_BOB)).accepted
