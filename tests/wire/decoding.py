"""Octets to replies, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtpx.wire.replies import Reply
    from smtpx.wire.reply_decoder import ReplyDecoder


def decode_all(decoder: ReplyDecoder, *pieces: bytes) -> list[Reply]:
    found = []
    for piece in pieces:
        decoder.feed(piece)
        while (reply := decoder.next_reply()) is not None:
            found.append(reply)
    return found


def octet_by_octet(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]
