"""Files that others wrote, and that we write: mbox, Maildir, transcripts."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fuzz.source import Source, allow, pieces_of
from smtpx.app.places import MboxSink
from smtpx.app.sinks import EmlSink, MaildirSink, Sink
from smtpx.cli.mailboxes import files_of, is_mbox, messages_of
from smtpx.testing.steps import TranscriptError, decode_escapes, escape
from smtpx.testing.transcripts import parse_transcript

__all__ = ["maildir", "mbox", "mbox_file", "transcript"]


async def _blocks(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _store(sink: Sink, messages: list[list[bytes]]) -> None:
    for pieces in messages:
        await sink.store(b"X-Head: 1\r\n", _blocks(pieces))
    await sink.close()


def mbox(octets: bytes) -> None:
    """What is put into an mbox is what is read of it, message by message."""
    source = Source(octets)
    seed = source.octet()
    contents: list[bytes] = []
    while not source.is_empty and len(contents) < 4:
        contents.append(source.word())
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder, "mbox")
        pieces = [pieces_of(content, seed) for content in contents]
        asyncio.run(_store(MboxSink(path), pieces))
        if not contents:
            return
        assert is_mbox(path)
        found = [make().read() for _, make in messages_of(path, stack)]
    expected = [b"X-Head: 1\r\n" + content for content in contents]
    assert [one.rstrip(b"\n") for one in found] == [
        one.replace(b"\r\n", b"\n").rstrip(b"\n") for one in expected
    ]


def mbox_file(octets: bytes) -> None:
    """An mbox file of anybody's is read."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder, "mbox")
        path.write_bytes(b"From " + octets)
        found = messages_of(path, stack)
        assert found
        for _, make in found:
            assert isinstance(make().read(), bytes)


def maildir(octets: bytes) -> None:
    """What is put into a Maildir, or a folder of files, is what is read of it."""
    source = Source(octets)
    seed = source.octet()
    content = source.rest()
    makers: tuple[Callable[[Path], Sink], ...] = (MaildirSink, EmlSink)
    for make in makers:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_store(make(Path(folder)), [pieces_of(content, seed)]))
            (path,) = files_of(Path(folder))
            read = path.read_bytes()
        expected = b"X-Head: 1\r\n" + content
        if make is MaildirSink:
            expected = expected.replace(b"\r\n", b"\n")
        assert read == expected


def transcript(octets: bytes) -> None:
    """Transcripts that somebody wrote: read, or refused with the line's number."""
    text = octets.decode("utf-8", "replace")
    read = allow(TranscriptError, lambda: parse_transcript(text))
    assert read is None or read.steps
    allow(ValueError, lambda: decode_escapes(text))
    assert decode_escapes(escape(octets, limit=len(octets))) == octets
