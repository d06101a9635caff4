"""Where messages lie: folders, Maildirs and mbox files."""

from __future__ import annotations

import io
import mailbox
import re
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

__all__ = ["files_of", "is_mbox", "messages_of"]

# The folders of a Maildir that hold whole messages; in tmp they are being written.
_MAILDIR: Final = ("new", "cur")

# How mbox files of the kind "rd" hide a line of content that begins with "From ".
_HIDDEN_FROM: Final = re.compile(rb"^>(>*From )", re.MULTILINE)


def files_of(folder: Path) -> list[Path]:
    """Find the messages in a folder.

    Args:
        folder: a Maildir, whose ``new`` and ``cur`` are read; or any other one, of
            which all files are messages but those whose name begins with a dot.

    Returns:
        Them, in the order of their names.
    """
    parts = [folder / name for name in _MAILDIR]
    if not all(part.is_dir() for part in parts):
        parts = [folder]
    return [
        path
        for part in parts
        for path in sorted(part.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]


def is_mbox(path: Path) -> bool:
    """Tell whether a file is an mbox: it begins with a line ``From ...``.

    Args:
        path: of a file. A header field would have a colon where the space is.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(5) == b"From "


def messages_of(
    path: Path, stack: ExitStack
) -> list[tuple[str, Callable[[], BinaryIO]]]:
    """Find the messages in an mbox file.

    Args:
        path: of the file.
        stack: closes it at the end.

    Returns:
        A name for each, and what opens it.
    """
    box = mailbox.mbox(path, create=False)
    stack.callback(box.close)
    return [
        (f"{path}, message {number}", partial(_open, box, key))
        for number, key in enumerate(box.iterkeys(), start=1)
    ]


def _open(box: mailbox.mbox, key: str) -> BinaryIO:
    return io.BytesIO(_HIDDEN_FROM.sub(rb"\1", box.get_bytes(key)))
