"""Sinks: what is stored, that it is safe when told so, and what an abort leaves."""

from __future__ import annotations

import asyncio
import mailbox
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from smtpx.app import sinks
from smtpx.app.sinks import (
    EmlSink,
    MaildirSink,
    PrintSink,
    printable,
    received_field,
    trace_fields,
)
from smtpx.errors import MessageAborted
from smtpx.net.tls import TLSInfo
from smtpx.server.session import ConnectionInfo
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import Envelope, Recipient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MESSAGE = b"Subject: hi\r\n\r\n\xff one\r\n.two\r\n"


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def cut_off(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise MessageAborted("connection lost")


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


async def test_eml_keeps_every_octet(tmp_path: Path) -> None:
    sink = EmlSink(tmp_path / "made" / "here")
    name = await sink.store(b"X-Head: 1\r\n", blocks(MESSAGE[:7], MESSAGE[7:]))
    await sink.close()
    [path] = files_in(tmp_path)
    assert path.name == name
    assert path.suffix == ".eml"
    assert path.read_bytes() == b"X-Head: 1\r\n" + MESSAGE


async def test_eml_names_sort_by_time_and_differ(tmp_path: Path) -> None:
    sink = EmlSink(tmp_path)
    names = [await sink.store(b"", blocks(MESSAGE)) for _ in range(20)]
    await sink.close()
    assert len(set(names)) == 20
    assert [name[:23] for name in names] == sorted(name[:23] for name in names)


async def test_an_empty_message_is_a_file_too(tmp_path: Path) -> None:
    sink = EmlSink(tmp_path)
    await sink.store(b"", blocks())
    await sink.close()
    assert [path.read_bytes() for path in files_in(tmp_path)] == [b""]


async def test_mail_is_private(tmp_path: Path) -> None:
    sink = MaildirSink(tmp_path / "mail")
    await sink.store(b"", blocks(MESSAGE))
    await sink.close()
    [path] = files_in(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_maildir_is_read_by_the_standard_library(tmp_path: Path) -> None:
    sink = MaildirSink(tmp_path / "mail")
    name = await sink.store(b"Return-Path: <>\r\n", blocks(MESSAGE))
    await sink.close()
    box = mailbox.Maildir(tmp_path / "mail", create=False)
    [message] = list(box)
    assert message["Return-Path"] == "<>"
    assert message["Subject"] == "hi"
    [path] = files_in(tmp_path)
    assert (path.parent.name, path.name) == ("new", name)


@pytest.mark.parametrize("cut", range(len(b"a\r\n\r\n\rb\r\n\r") + 1))
async def test_maildir_line_ends_whatever_the_split(tmp_path: Path, cut: int) -> None:
    """Each block goes to the disk by itself, as in a large message."""
    content = b"a\r\n\r\n\rb\r\n\r"
    sink = MaildirSink(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sinks, "_BATCH_OCTETS", 1)
        await sink.store(b"", blocks(content[:cut], content[cut:]))
    await sink.close()
    assert [path.read_bytes() for path in files_in(tmp_path)] == [b"a\n\n\rb\n\r"]


async def test_a_large_message_is_written_as_it_arrives(tmp_path: Path) -> None:
    sink = EmlSink(tmp_path)
    sizes: list[int] = []

    async def large() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(65_536)
            sizes.extend(path.stat().st_size for path in files_in(tmp_path))

    await sink.store(b"", large())
    await sink.close()
    assert max(sizes) >= 30 * 65_536
    assert [path.stat().st_size for path in files_in(tmp_path)] == [40 * 65_536]


@pytest.mark.parametrize("batch_octets", [1, 1_000_000])
@pytest.mark.parametrize("sink_type", [EmlSink, MaildirSink])
async def test_a_message_cut_off_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sink_type: type[EmlSink | MaildirSink],
    batch_octets: int,
) -> None:
    monkeypatch.setattr(sinks, "_BATCH_OCTETS", batch_octets)
    sink = sink_type(tmp_path)
    with pytest.raises(MessageAborted):
        await sink.store(b"", cut_off(b"half", b" of it"))
    await sink.close()
    assert files_in(tmp_path) == []


async def test_nothing_is_visible_before_it_is_whole(tmp_path: Path) -> None:
    sink = MaildirSink(tmp_path)
    seen: list[list[Path]] = []

    async def watched() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield bytes(200_000)
            seen.append(files_in(tmp_path / "new"))

    await sink.store(b"", watched())
    assert seen == [[]] * 10
    assert len(files_in(tmp_path / "new")) == 1
    await sink.close()


async def test_file_and_folder_are_flushed_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without both, a power cut loses what the client was told is safe."""
    flushed = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        inode = os.fstat(descriptor).st_ino
        flushed.append((inode, len(files_in(tmp_path / "new"))))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    sink = MaildirSink(tmp_path)
    await sink.store(b"", blocks(MESSAGE))
    await sink.close()
    [path] = files_in(tmp_path)
    folder = path.parent.stat().st_ino
    assert flushed == [(path.stat().st_ino, 0), (folder, 1)]


async def test_a_full_disk_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    sink = EmlSink(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        await sink.store(b"", blocks(MESSAGE))
    await sink.close()
    assert files_in(tmp_path) == []


@pytest.fixture
def held_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, ...]]:
    """Hold the flush of a file until the test lets it go."""
    reached, release = threading.Event(), threading.Event()

    def fsync(_descriptor: int) -> None:
        reached.set()
        release.wait(30)

    monkeypatch.setattr(os, "fsync", fsync)
    yield reached, release
    release.set()


async def test_the_loop_is_free_while_the_disk_is_busy(
    tmp_path: Path, held_disk: tuple[threading.Event, threading.Event]
) -> None:
    reached, release = held_disk
    sink = EmlSink(tmp_path)
    task = asyncio.create_task(sink.store(b"", blocks(MESSAGE)))
    await asyncio.to_thread(reached.wait, 30)
    assert not task.done()
    release.set()
    await task
    await sink.close()


async def test_a_cancelled_store_leaves_a_whole_message_or_none(
    tmp_path: Path, held_disk: tuple[threading.Event, threading.Event]
) -> None:
    reached, release = held_disk
    sink = EmlSink(tmp_path)
    task = asyncio.create_task(sink.store(b"", blocks(MESSAGE)))
    await asyncio.to_thread(reached.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    await sink.close()
    # The thread was past the point of no return; the clean-up came after it.
    assert [path.read_bytes() for path in files_in(tmp_path)] == [MESSAGE]


async def test_a_store_cancelled_before_its_end_leaves_nothing(tmp_path: Path) -> None:
    sink = EmlSink(tmp_path)
    is_waiting = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(1_000_000)
        is_waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(sink.store(b"", endless()))
    await is_waiting.wait()
    assert len(files_in(tmp_path)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sink.close()
    assert files_in(tmp_path) == []


async def test_many_messages_at_once(tmp_path: Path) -> None:
    sink = MaildirSink(tmp_path)
    await asyncio.gather(
        *(sink.store(b"", blocks(b"%d\r\n" % number)) for number in range(100))
    )
    await sink.close()
    contents = {path.read_bytes() for path in files_in(tmp_path / "new")}
    assert contents == {b"%d\n" % number for number in range(100)}


async def test_the_terminal_shows_the_start_of_a_large_message() -> None:
    shown: list[str] = []
    sink = PrintSink(shown.append, max_octets=10)
    await sink.store(b"A: 1\r\n", blocks(b"B: 2\r\n", b"\r\nlong"))
    await sink.store(b"", blocks(b"0123456789"))
    await sink.close()
    assert shown == ["A: 1\nB: 2\n... and 8 more octets", "0123456789"]


def test_no_escape_sequence_reaches_the_terminal() -> None:
    text = "\x1b]0;title\x07 \x9b2J \u202e right to left \u2028 \udcff\n\tgrå 日本"
    shown = printable(text)
    assert shown == (
        "\\x1b]0;title\\x07 \\x9b2J \\u202e right to left \\u2028 \\udcff\n\tgrå 日本"
    )


def connection(*recipients: str, **facts: object) -> ConnectionInfo:
    info = ConnectionInfo(
        id="abc123",
        hostname="mx.test",
        peer="192.0.2.1:4000",
        peer_host="192.0.2.1",
        local="192.0.2.2:25",
        started_at=datetime.now(UTC),
        is_lmtp=False,
        is_local=False,
        close=lambda _reply: None,
    )
    info.hello_name = "client.test"
    info.is_extended = True
    info.envelope = Envelope(
        Mailbox.parse("a@example.com"),
        recipients=[Recipient(Mailbox.parse(one)) for one in recipients],
    )
    for name, value in facts.items():
        setattr(info, name, value)
    return info


def test_trace_fields_of_one_recipient() -> None:
    tls = TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
    lines = trace_fields(connection("b@example.net", tls=tls)).decode().split("\r\n")
    assert lines[:4] == [
        "Return-Path: <a@example.com>",
        "Received: from client.test ([192.0.2.1])",
        "\tby mx.test with ESMTPS id abc123",
        "\t(TLSv1.3 TLS_AES_256_GCM_SHA384)",
    ]
    assert lines[4].startswith("\tfor <b@example.net>; ")
    assert lines[5:] == [""]


def test_the_field_of_who_relays_is_that_of_a_delivery_alone() -> None:
    names = [
        line.partition(b":")[0]
        for line in received_field(connection("b@example.net")).split(b"\r\n")
        if line and not line.startswith(b"\t")
    ]
    assert names == [b"Received"]
    with pytest.raises(ValueError, match="no transaction"):
        received_field(connection(envelope=None))


def test_trace_fields_do_not_tell_recipients_of_each_other() -> None:
    fields = trace_fields(connection("b@example.net", "c@example.net"))
    assert b"example.net" not in fields


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"peer_host": None}, b"from client.test (unix socket)\r\n"),
        ({"peer_host": "::1"}, b"from client.test ([IPv6:::1])\r\n"),
        ({"hello_name": None}, b"from unknown ([192.0.2.1])\r\n"),
        ({"hello_name": "x\r\nBcc: v@x"}, b"from x??Bcc: v@x ([192.0.2.1])\r\n"),
        ({"hello_name": "x\u2028Bcc: v@x"}, b"from x?Bcc: v@x ([192.0.2.1])\r\n"),
        ({"hello_name": "x\ty"}, b"from x?y ([192.0.2.1])\r\n"),
        ({"envelope": Envelope(None)}, b"Return-Path: <>\r\n"),
    ],
)
def test_trace_fields(facts: dict[str, object], expected: bytes) -> None:
    fields = trace_fields(connection("b@example.net", **facts))
    assert expected in fields
    names = [line.partition(b":")[0] for line in fields.split(b"\r\n")]
    assert [name for name in names if name and not name.startswith(b"\t")] == [
        b"Return-Path",
        b"Received",
    ]


def test_there_is_nothing_to_trace_outside_a_transaction() -> None:
    with pytest.raises(ValueError, match="no transaction"):
        trace_fields(connection(envelope=None))
