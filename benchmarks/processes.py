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
from pathlib import Path
from typing import Any

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


def start_sink(port: int) -> list[str]:
    """Return the command for ``smtp-sink`` on `port`."""
    command = [find_postfix_tool("smtp-sink")]
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


def build_go_server(directory: Path) -> Path | None:
    """Build the go-smtp server from Debian's source packages.

    Returns:
        The program in `directory`; None without Go or without the sources.
    """
    sources = Path("/usr/share/gocode")
    go = shutil.which("go")
    if go is None or not (sources / "src/github.com/emersion/go-smtp").is_dir():
        return None
    program = directory / "gosmtp"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": str(sources),
        "GOCACHE": str(directory / "cache"),
    }
    subprocess.run(
        [go, "build", "-o", str(program), "."],
        check=True,
        cwd=ROOT / "benchmarks" / "gosmtp",
        env=environment,
    )
    return program
