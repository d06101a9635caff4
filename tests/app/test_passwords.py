"""Passwords against a file of hashes."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

from smtpx.app import passwords
from smtpx.app.passwords import PasswordFile, hash_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# As cheap as the libraries allow: strength is not what is tested.
ARGON2 = Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1)
BCRYPT = BcryptHasher(rounds=4)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "passwords"
        path.write_text(text, encoding="utf-8")
        return path

    return write


async def test_right_and_wrong(write: Callable[[str], Path]) -> None:
    lines = [
        "# who may send",
        "",
        f"alice:{ARGON2.hash('wonderland')}",
        f"  bob@example.com:{BCRYPT.hash('builder')}\r",
        f"grå:{ARGON2.hash('pässword: with colon')}",
    ]
    file = PasswordFile(write("\n".join(lines)))
    for user, password, is_right in [
        ("alice", "wonderland", True),
        ("alice", "Wonderland", False),
        ("alice", "", False),
        ("ALICE", "wonderland", False),
        ("bob@example.com", "builder", True),
        ("bob@example.com", "builder\0", False),
        ("bob@example.com", "x" * 100, False),
        ("grå", "pässword: with colon", True),
        ("nobody", "wonderland", False),
        ("", "wonderland", False),
    ]:
        assert await file.check(user, password) is is_right, (user, password)
    await file.close()


async def test_an_unknown_user_costs_a_verification(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PasswordFile(write(f"alice:{ARGON2.hash('wonderland')}"))
    verified = []

    class Counting:
        def verify(self, password: str, hashed: str) -> bool:
            verified.append((password, hashed[:9]))
            return True

    monkeypatch.setattr(passwords, "_hasher", Counting)
    assert await file.check("nobody", "guess") is False
    assert verified == [("guess", "$argon2id")]
    await file.close()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no user"),
        ("# nobody\n\n", "no user"),
        ("alice", "line 1 is not of the form user:hash"),
        (":$2b$04$abc", "line 1 is not of the form user:hash"),
        ("\nalice:s3cret", "line 2 holds no argon2 or bcrypt hash"),
    ],
)
def test_a_wrong_file_is_refused(
    write: Callable[[str], Path], text: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        PasswordFile(write(text))
    assert "s3cret" not in str(caught.value)


def test_a_user_named_twice_is_refused(write: Callable[[str], Path]) -> None:
    line = f"alice:{BCRYPT.hash('x')}\n"
    with pytest.raises(ValueError, match="line 2 names a user a second time"):
        PasswordFile(write(line * 2))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PasswordFile(tmp_path / "none")


def replace(path: Path, text: str) -> None:
    """Write a new file over an old one, as an editor does."""
    draft = path.with_suffix(".new")
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)


async def test_a_changed_file_is_read_again(
    write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = write(f"alice:{BCRYPT.hash('old')}")
    file = PasswordFile(path)
    assert await file.check("alice", "old")
    replace(path, f"alice:{BCRYPT.hash('new')}")
    assert await file.check("alice", "new")
    assert not await file.check("alice", "old")
    # A mistake locks nobody out, and is told once.
    with caplog.at_level(logging.WARNING, logger="smtpx.app"):
        replace(path, "alice:mistake")
        assert await file.check("alice", "new")
        assert await file.check("alice", "new")
    assert [record.name for record in caplog.records] == ["smtpx.app"]
    assert "line 1 holds no argon2" in caplog.text
    assert "mistake" not in caplog.text
    await file.close()


async def test_a_file_that_vanished_stays_in_force(
    write: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = write(f"alice:{BCRYPT.hash('x')}")
    file = PasswordFile(path)
    path.unlink()
    assert await file.check("alice", "x")
    assert "stays as it was read before" in caplog.text
    await file.close()


async def test_the_loop_is_free_while_a_password_is_checked(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = PasswordFile(write(f"alice:{BCRYPT.hash('x')}"))
    reached, release = threading.Event(), threading.Event()

    class Slow:
        def verify(self, _password: str, _hashed: str) -> bool:
            reached.set()
            return release.wait(30)

    monkeypatch.setattr(passwords, "_hasher", Slow)
    task = asyncio.create_task(file.check("alice", "x"))
    await asyncio.to_thread(reached.wait, 30)
    assert not task.done()
    release.set()
    assert await task
    await file.close()


@pytest.fixture
def no_extra(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    passwords._hasher.cache_clear()
    for name in list(sys.modules):
        if name.partition(".")[0] == "pwdlib":
            monkeypatch.delitem(sys.modules, name)
    yield
    passwords._hasher.cache_clear()


@pytest.mark.usefixtures("no_extra")
@pytest.mark.parametrize("missing", ["pwdlib", "argon2", "bcrypt"])
def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'smtpx\[passwords\]'$"):
        hash_password("x")


def test_hashes_are_salted_argon2id() -> None:
    first, second = hash_password("x"), hash_password("x")
    assert first != second
    assert first.startswith("$argon2id$")
    assert os.linesep not in first
    assert ":" not in first
