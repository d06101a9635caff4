"""What all tools share: help, versions, how they end; and ``smtpx passwd``."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

import smtpx
from smtpx.app.passwords import PasswordFile
from smtpx.cli import group, main, passwd
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.group import cli
from smtpx.cli.options import octet_count
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Run

COMMANDS = [[], ["serve"], ["send"], ["passwd"]]


def help_of(command: list[str]) -> str:
    result = CliRunner().invoke(cli, [*command, "--help"], terminal_width=80)
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal(command: list[str]) -> None:
    lines = help_of(command).splitlines()
    assert [line for line in lines if len(line) > 80] == []
    assert len(lines) > 5


@pytest.mark.parametrize("name", ["serve", "send"])
def test_every_option_is_explained_and_stands_in_a_section(name: str) -> None:
    command = cli.commands[name]
    unexplained = [
        parameter.name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and (not parameter.help or not hasattr(parameter, "section"))
    ]
    assert unexplained == []
    headings = re.findall(r"^([A-Z]\w+):$", help_of([name]), re.MULTILINE)
    assert headings[-1] == "Other"  # --help alone
    assert len(headings) >= 6


def test_options_of_send_in_the_order_of_use() -> None:
    headings = re.findall(r"^(\w+):$", help_of(["send"]), re.MULTILINE)
    assert headings[:4] == ["Server", "Message", "Authentication", "TLS"]


def test_exit_codes_in_the_help_are_those_there_are() -> None:
    table = help_of(["send"]).partition("Exit codes")[2]
    told = {int(code) for code in re.findall(r"(?:^|  )\s*(\d+) [a-z]", table)}
    assert told <= {int(code) for code in ExitCode}
    assert {0, 64, 67, 75, 77} <= told


def test_version(run: Callable[..., Run]) -> None:
    ran = run("--version")
    assert (ran.code, ran.out) == (0, f"smtpx {smtpx.__version__}\n")


def test_an_unknown_command(run: Callable[..., Run]) -> None:
    ran = run("frobnicate")
    assert ran.code == 64
    assert ran.err == (
        "smtpx: No such command 'frobnicate' (`smtpx --help` tells more)\n"
    )


def test_no_command_shows_which_there_are(run: Callable[..., Run]) -> None:
    ran = run()
    assert (ran.code, ran.out) == (64, "")
    assert ran.err.startswith("Usage: smtpx [OPTIONS] COMMAND [ARGS]...\n")
    assert ran.err.endswith("  serve   Receive messages.\n")


def run_module(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "smtpx", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environ,
    )


def test_python_m_smtpx() -> None:
    ran = run_module("--version")
    assert (ran.returncode, ran.stdout) == (0, f"smtpx {smtpx.__version__}\n")
    ran = run_module("send")
    assert ran.returncode == 64
    assert ran.stderr.startswith("smtpx: there is nothing to send")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, missing: str
) -> None:
    """The finder below is what an environment without the package looks like."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "find_spec = util.find_spec\n"
        "util.find_spec = lambda name, package=None: (\n"
        f"    None if name == {missing!r} else find_spec(name, package)\n"
        ")\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ran = run_module("--version", PYTHONPATH=path)
    assert ran.returncode == 1
    assert ran.stderr == (
        f"smtpx: the command line tools need {missing}: pip install 'smtpx[cli]'\n"
    )


def test_a_reader_that_had_enough_is_no_error() -> None:
    ran = subprocess.run(
        f"{sys.executable} -m smtpx send --help | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ran.stdout.startswith("Usage: smtpx send")
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (click.Abort(), 130, "interrupted"),
        (TypeError("oops"), 70, "this is a fault of smtpx: TypeError: oops"),
        (Failure(ExitCode.DATA, "wrong"), 65, "wrong"),
        (click.FileError("x", "no"), 73, "x"),
    ],
)
def test_ends(
    run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(group.cli, "main", fail)
    ran = run("send")
    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_a_fault_can_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise TypeError("oops")

    monkeypatch.setattr(group.cli, "main", fail)
    monkeypatch.setenv("SMTPX_TRACEBACK", "1")
    with pytest.raises(TypeError, match="oops"):
        main(["send"])


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (smtpx.NotSupported("no DSN"), ExitCode.UNAVAILABLE, "offers it"),
        (
            smtpx.ConnectionLost("gone", delivery=smtpx.Delivery.UNKNOWN),
            ExitCode.TEMPORARY,
            "it may have been delivered",
        ),
        (smtpx.PhaseTimeout("too slow"), ExitCode.TEMPORARY, "--timeout"),
        (smtpx.OutOfStep("what?"), ExitCode.PROTOCOL, "-v shows"),
        (smtpx.BadReply("what?"), ExitCode.PROTOCOL, "what?"),
        (
            smtpx.GreetingRefused("no", reply=Reply(554, None, "go away")),
            ExitCode.TEMPORARY,
            "554 go away",
        ),
        (
            smtpx.GreetingRefused("no", reply=Reply(421, None, "busy")),
            ExitCode.TEMPORARY,
            "try again later",
        ),
        (
            smtpx.SenderRefused(
                "no", sender="a@b.c", reply=Reply(451, None, "greylisted")
            ),
            ExitCode.TEMPORARY,
            "try again later",
        ),
        (
            smtpx.SenderRefused("no", sender="a@b.c", reply=Reply(550, None, "no")),
            ExitCode.UNAVAILABLE,
            "check --from",
        ),
        (smtpx.UnsafeOctets("x", "y"), ExitCode.DATA, "control octet"),
        (ImportError("pip install it"), ExitCode.UNAVAILABLE, "pip install it"),
        (FileNotFoundError(2, "No such file", "x"), ExitCode.NO_INPUT, "x: No such"),
        (OSError(5, "Input/output error"), ExitCode.OS_ERROR, "Input/output error"),
        (RuntimeError("odd"), ExitCode.SOFTWARE, "odd"),
    ],
)
def test_what_errors_mean(error: Exception, code: ExitCode, said: str) -> None:
    failure = explain(error)
    assert failure.code is code
    assert said in str(failure)
    assert "\n" not in str(failure)


def test_a_failure_stays_what_it_is() -> None:
    failure = Failure(ExitCode.NO_HOST, "x")
    assert explain(failure) is failure


@pytest.mark.parametrize(
    ("text", "count"),
    [("1", 1), ("64k", 65_536), ("50M", 52_428_800), ("2GiB", 2**31), ("3kb", 3_072)],
)
def test_octet_counts(text: str, count: int) -> None:
    assert octet_count(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "k", "1.5k", "1t", "\u0661", "9" * 16])
def test_no_octet_counts(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 500, 64k or 50M"):
        octet_count(text)


def test_what_a_server_says_in_an_error_is_safe_to_print(
    run: Callable[..., Run],
) -> None:
    """Its greeting is an error's text before anything else is shown."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall("554 a\u202eb\x1b[2Jc\x9b31m\r\n".encode())

        thread = threading.Thread(target=greet)
        thread.start()
        port = listener.getsockname()[1]
        ran = run("probe", f"127.0.0.1:{port}")
        thread.join()
    assert ran.code == 75
    assert r"554 a\u202eb" in ran.err
    assert ran.err.replace("\n", "").isprintable()


# ------------------------------------------------------------------------------ passwd


async def test_passwd_makes_a_line_that_serve_takes(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["passwd", "alice"], input="open sesame\n")
    assert result.exit_code == 0
    path = tmp_path / "passwords"
    path.write_text(result.output)
    file = PasswordFile(path)
    assert await file.check("alice", "open sesame")
    await file.close()


def test_passwd_asks_twice_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwd, "can_ask", lambda: True)
    result = CliRunner().invoke(
        cli, ["passwd", "alice"], input="typo\nsesame\nsesame\nsesame\n"
    )
    assert result.exit_code == 0
    assert result.stdout.startswith("alice:$argon2id$")
    assert result.stdout.count("\n") == 1
    assert "do not match" in result.stderr
    assert "sesame" not in result.output


@pytest.mark.parametrize("user", ["", "a:b", "#a", "a\nb", " "])
def test_passwd_refuses_names_that_break_the_file(
    run: Callable[..., Run], user: str
) -> None:
    assert run("passwd", user).code == 64


def test_passwd_refuses_an_empty_password() -> None:
    result = CliRunner().invoke(cli, ["passwd", "alice"], input="\n")
    assert isinstance(result.exception, Failure)
