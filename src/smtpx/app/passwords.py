"""Passwords checked against a file of hashes.

A verification is meant to be slow, some tenth of a second and with argon2 64 MiB, so
it runs in a bounded pool of threads, never on the event loop. The bound is also what
keeps a flood of attempts from taking all memory.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pwdlib import PasswordHash

__all__ = ["PasswordFile", "hash_password"]

logger = logging.getLogger("smtpx.app")

_THREADS: Final = 2
_INSTALL: Final = "passwords need the package pwdlib: pip install 'smtpx[passwords]'"


@functools.cache
def _hasher() -> PasswordHash:
    """Return what makes argon2id hashes, and verifies those and bcrypt's."""
    try:
        # An extra, and slow to load.
        from pwdlib import PasswordHash  # noqa: PLC0415
        from pwdlib.hashers.argon2 import Argon2Hasher  # noqa: PLC0415
        from pwdlib.hashers.bcrypt import BcryptHasher  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ImportError(_INSTALL) from None
    except Exception as error:
        # Its own exception, for want of argon2 or bcrypt.
        if type(error).__name__ != "HasherNotAvailable":
            raise
        raise ImportError(_INSTALL) from None
    return PasswordHash((Argon2Hasher(), BcryptHasher()))


def hash_password(password: str) -> str:
    """Make a hash for a line of a `PasswordFile`.

    Args:
        password: of any length and any characters.

    Returns:
        An argon2id hash with a salt of its own.

    Raises:
        ImportError: the extra ``passwords`` is not installed.

    >>> hash_password("secret").startswith("$argon2id$")
    True
    """
    return _hasher().hash(password)


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells one version of a file from the next."""

    modified_ns: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Stamp:
        return cls(status.st_mtime_ns, status.st_size, status.st_ino)


class PasswordFile:
    """Users and hashes of their passwords, one a line: ``user:hash``.

    Empty lines, and those that start with ``#``, are passed over. Hashes are argon2's
    or bcrypt's, as `hash_password`, ``smtpx passwd`` and ``htpasswd -B`` make them. A
    changed file is read again at the next check; if it is wrong, that is logged and
    what was read before stays in force.

    Args:
        path: of the file, in UTF-8.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is wrong, or there is none. The text names the line, and
            shows nothing of a hash.
        ImportError: the extra ``passwords`` is not installed.

    Example:
        >>> import asyncio, pathlib, tempfile
        >>> async def check(path):
        ...     passwords = PasswordFile(path)
        ...     print(await passwords.check("alice", "wonderland"))
        ...     print(await passwords.check("alice", "wrong"))
        ...     await passwords.close()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "passwords")
        ...     _ = path.write_text(f"alice:{hash_password('wonderland')}")
        ...     asyncio.run(check(path))
        True
        False
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._hashes, self._stamp = self._read()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="smtpx-passwords")

    async def check(self, user: str, password: str) -> bool:
        """Tell whether the password is the user's.

        An unknown user takes as long as a wrong password.

        Args:
            user: compared as it is, case included.
            password: likewise.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._check, user, password)

    async def close(self) -> None:
        """Finish the checks under way, and free threads."""
        await asyncio.to_thread(self._pool.shutdown)

    def _check(self, user: str, password: str) -> bool:
        self._refresh()
        hashes = self._hashes
        known = hashes.get(user)
        # For an unknown user any hash will do: it is there to take the time.
        against = next(iter(hashes.values())) if known is None else known
        try:
            is_right = _hasher().verify(password, against)
        except ValueError:
            # bcrypt takes 72 octets and no NUL, and says so by raising.
            is_right = False
        return is_right and known is not None

    def _refresh(self) -> None:
        """Read the file again if it changed; once, even if it is wrong."""
        try:
            stamp = _Stamp.of(self.path.stat())
            if stamp != self._stamp:
                self._stamp = stamp
                self._hashes, self._stamp = self._read()
        except (OSError, ValueError) as error:
            logger.warning("%s stays as it was read before: %s", self.path, error)

    def _read(self) -> tuple[Mapping[str, str], _Stamp]:
        with self.path.open(encoding="utf-8") as file:
            # Of the open file: the path may be another one by now.
            stamp = _Stamp.of(os.fstat(file.fileno()))
            text = file.read()
        return _parse(text), stamp


def _parse(text: str) -> Mapping[str, str]:
    hashers = _hasher().hashers
    hashes: dict[str, str] = {}
    for number, row in enumerate(text.split("\n"), 1):
        line = row.strip()
        if not line or line.startswith("#"):
            continue
        user, colon, hashed = line.partition(":")
        if not colon or not user:
            raise ValueError(f"line {number} is not of the form user:hash")
        if not any(hasher.identify(hashed) for hasher in hashers):
            raise ValueError(
                f"line {number} holds no argon2 or bcrypt hash: "
                "make one with `smtpx passwd`"
            )
        if user in hashes:
            raise ValueError(f"line {number} names a user a second time")
        hashes[user] = hashed
    if not hashes:
        raise ValueError("there is no user in it: add lines made by `smtpx passwd`")
    return hashes
