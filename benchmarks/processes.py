"""Starting the programs that are measured, and waiting until they serve."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
START_SECONDS = 15.0
STOP_SECONDS = 15.0


class MissingProgram(Exception):
    """A program is not installed; the text says what to install."""


def find_postfix_tool(name: str) -> str:
    """Find ``smtp-source`` or ``smtp-sink``, also where no user's PATH leads.

    Raises:
        MissingProgram: it is not installed.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise MissingProgram(f"{name} not found: install the package 'postfix'")
    return found


def stay_on_one_core() -> None:
    """Have everything that is measured share a core with what loads it.

    To wake another core of a virtual machine costs more than a message, and whether
    it has to be woken is left to chance: one program took 97 us a message in one run,
    and 309 in the next.
    """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def free_port() -> int:
    """Return a TCP port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_serving(port: int, process: subprocess.Popen[bytes]) -> None:
    """Connect until it works: a foreign program does not tell when it is ready.

    Raises:
        RuntimeError: the program ended, or does not listen after 15 seconds.
    """
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that may have ended already."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_sink(port: int, *flags: str) -> list[str]:
    """Return the command for ``smtp-sink`` on `port`."""
    command = [find_postfix_tool("smtp-sink"), *flags]
    if os.geteuid() == 0:
        # It refuses to run as root.
        command += ["-u", "nobody"]
    # The number is the listen backlog.
    return [*command, f"{HOST}:{port}", "1000"]


def python_program(module: str, *arguments: str) -> list[str]:
    """Return the command for a module of this package, on this interpreter."""
    return [sys.executable, "-m", f"benchmarks.{module}", *arguments]


def read_report(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read the next line of JSON that one of our own programs prints.

    Raises:
        RuntimeError: the program ended instead.
    """
    if process.stdout is None:
        raise ValueError("start the program with stdout=PIPE")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with {process.wait()}")
    report: dict[str, Any] = json.loads(line)
    return report


def output_of(command: Sequence[str]) -> str:
    """Return what a program prints; a question mark when it fails."""
    with contextlib.suppress(OSError):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    return "?"


@dataclass(frozen=True)
class GoProgram:
    """go-smtp, as a server and as a client.

    Attributes:
        path: the program; see benchmarks/gosmtp/main.go.
        version: of go-smtp and of Go.
        has_chunking: Debian's 0.12.1 is from before go-smtp had BDAT.
    """

    path: Path
    version: str
    has_chunking: bool


def build_go_program(directory: Path, checkout: Path | None = None) -> GoProgram | None:
    """Build it from Debian's source packages, or from the sources of a later go-smtp.

    Returns:
        The program in `directory`; None without Go or without the sources.
    """
    debian = Path("/usr/share/gocode")
    package = "src/github.com/emersion/go-smtp"
    go = shutil.which("go")
    if go is None or not (checkout or debian / package).is_dir():
        return None
    paths = [debian]
    if checkout is None:
        query = ["dpkg-query", "-W", "-f", "${Version}"]
        version = output_of([*query, "golang-github-emersion-go-smtp-dev"])
    else:
        (directory / package).parent.mkdir(parents=True)
        (directory / package).symlink_to(checkout.resolve())
        paths.insert(0, directory)
        version = output_of(["git", "-C", str(checkout), "describe", "--always"])
    program = directory / "gosmtp"
    subprocess.run(
        [
            *(go, "build", "-o", str(program)),
            *(["-tags", "later"] if checkout else []),
            ".",
        ],
        check=True,
        cwd=ROOT / "benchmarks" / "gosmtp",
        env={
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": os.pathsep.join(map(str, paths)),
        },
    )
    go_version = output_of([go, "env", "GOVERSION"]).removeprefix("go")
    return GoProgram(
        program, f"go-smtp {version}, Go {go_version}", checkout is not None
    )
