"""A root directory of its own for a mail server that was unpacked, not installed.

Debian allows one mail transport agent on a system. The others are unpacked by
`unpack-servers`, with all libraries, and run in a chroot: there the paths and the
users that are compiled into them exist, and nothing of them outside. The name server
is this host, where none answers: a look-up fails at once instead of waiting for a
network.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.interop.maildir import Maildir
from tests.interop.programs import find_program

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of Debian; the same as in `unpack-servers`.
RELEASE = "trixie"

# By number outside of the jail: root, and what UNPRIVILEGED_USER is on Debian.
ROOT = 0
NOBODY = 65_534
# Local users, for servers that deliver to those only; and those of the servers, with
# numbers that a system gives to nobody.
USERS: Mapping[str, int] = {
    "root": ROOT,
    "nobody": NOBODY,
    "user": 64_901,
    "other": 64_902,
    "Debian-exim": 64_903,
    "opensmtpd": 64_904,
    "opensmtpq": 64_905,
}


def unpacked(package: str) -> Path:
    """Return where `unpack-servers` has put a package."""
    cache = os.environ.get("SMTPX_INTEROP_CACHE")
    if cache is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = str(Path(home) / "smtpx-interop")
    directory = Path(cache) / RELEASE / package
    if not directory.is_dir():
        raise RuntimeError(
            f"{package} is not in {cache}: run tests/interop/unpack-servers"
        )
    return directory


class Jail:
    """A root directory with one server in it.

    Args:
        root: an empty directory that all users can enter.
        package: the one unpacked.
    """

    def __init__(self, root: Path, package: str) -> None:
        self.root = root
        shutil.copytree(unpacked(package), root, dirs_exist_ok=True, symlinks=True)
        root.chmod(0o755)
        for name in ("dev", "etc", "mail", "tmp", "var/mail"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("tmp", "mail", "var/mail"):
            (root / name).chmod(0o1777)
        os.mknod(root / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        (root / "dev/null").chmod(0o666)
        self._write_tables()

    def _write_tables(self) -> None:
        users = [
            f"{name}:x:{number}:{number}::/mail/{name}:/bin/sh"
            for name, number in USERS.items()
        ]
        groups = [f"{name}:x:{number}:" for name, number in USERS.items()]
        groups.append("mail:x:8:")
        self.write("etc/passwd", "\n".join(users) + "\n")
        self.write("etc/group", "\n".join(groups) + "\n")
        self.write("etc/hosts", "127.0.0.1 localhost\n")
        self.write("etc/resolv.conf", "nameserver 127.0.0.1\noptions attempts:1\n")
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """Write a file in it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def copy(self, source: Path, name: str, mode: int = 0o644) -> None:
        """Copy a file from outside."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, path)
        path.chmod(mode)

    def command(self, *words: str) -> list[str]:
        """Return what runs a program in it."""
        return [find_program("chroot", "coreutils"), str(self.root), *words]

    def run(self, *words: str, is_checked: bool = True) -> str:
        """Run a program in it to its end, and return its output."""
        done = subprocess.run(
            self.command(*words),
            check=is_checked,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout


def substitute(template: str, values: Mapping[str, str]) -> str:
    """Put values where a configuration has ``@name@``.

    Servers use each of the signs that Python has for this.
    """
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], template)


@dataclass(frozen=True)
class JailedServer:
    """A server that is running in a jail."""

    port: int
    # TLS from the first octet.
    tls_port: int
    # Takes mail only from those who have authenticated, by TLS where it has it so.
    auth_port: int
    # Where it sends what is for example.net (never by TLS) and example.org (by TLS
    # and with AUTH only); nobody listens there but a test.
    relay_port: int
    # Refuses all clients as soon as they come.
    refusing_port: int
    version: str
    log: Path
    user: Maildir
    other: Maildir


PORTS = ("port", "tls_port", "auth_port", "relay_port", "refusing_port")
