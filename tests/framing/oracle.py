"""The framing of DATA as RFC 5321 sections 4.1.1.4 and 4.5.2 tell it, line by line.

Slow, and too simple to be wrong. What the library does must be the same.
"""

from __future__ import annotations

import re


def decode(data: bytes) -> tuple[bytes, int, bool]:
    """Return the content, how many octets belong to the message, and if it ended."""
    content, line = b"", b""
    for position, octet in enumerate(data, 1):
        line += bytes([octet])
        if line == b".\r\n":
            return content, position, True
        if line.endswith(b"\r\n"):
            content += line.removeprefix(b".")
            line = b""
    return content + line.removeprefix(b"."), len(data), False


def has_bare_newline(content: bytes) -> bool:
    """Say whether a CR or an LF is no part of a CR LF."""
    rest = content.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


def normalize(content: bytes) -> bytes:
    """Return the content with CR LF as its only line end."""
    return re.sub(rb"\r\n|\r|\n", b"\r\n", content)


def encode(content: bytes) -> bytes:
    """Return the message as a client sends it, with the final dot."""
    lines = re.split(rb"\r\n|\r|\n", content)
    if lines[-1] == b"":
        lines.pop()
    stuffed = [b"." + line if line.startswith(b".") else line for line in lines]
    return b"".join(line + b"\r\n" for line in [*stuffed, b"."])
