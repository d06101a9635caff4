"""``smtpx probe``: what it says of our server, and how it ends."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.probe import accounts
from smtpx.probe.registry import CHECKS
from tests.probe.flawed_server import HOST, FlawedServer, Kind

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Inbox, Run

    Runner = Callable[..., Run]
    Starter = Callable[..., Inbox]

RECIPIENT = "b@example.net"


class Strict(smtpx.Session):
    """Takes mail for one domain."""

    async def rcpt(
        self, forward_path: smtpx.Mailbox, options: smtpx.RcptOptions
    ) -> smtpx.Reply | None:
        if str(forward_path) not in {RECIPIENT, "postmaster"}:
            raise smtpx.Refuse(550, "5.7.1", "relaying denied")
        return None

    async def data(self, body: smtpx.Body) -> smtpx.Reply | None:
        await body.read()
        return None


@pytest.fixture(params=["smtp", "lmtp"])
def own_url(
    request: pytest.FixtureRequest, tls_context: ssl.SSLContext
) -> Iterator[str]:
    """Run our server with all that it offers by itself."""
    options = smtpx.ServerOptions(
        hostname="mx.test",
        tls=tls_context,
        smtputf8=True,
        binarymime=True,
        lmtp=request.param == "lmtp",
    )
    server = smtpx.Server(Strict, "127.0.0.1:0", options=options)
    with server.run_in_thread():
        yield f"{request.param}://{server.addresses[0]}"


def test_our_server_is_clean(run: Runner, own_url: str, certificates: Path) -> None:
    ran = run(
        *("probe", own_url, "-r", RECIPIENT, "--relay-check", "--fail-on", "unclear"),
        *("--ca-file", str(certificates / "ca.pem"), "--json"),
    )
    record = json.loads(ran.out)
    bad = [
        (check["name"], one)
        for check in record["checks"]
        for one in check["findings"]
        if one["verdict"] not in {"ok", "noted", "not offered", "left out"}
    ]
    assert bad == []
    assert ran.code == 0
    # All were made but for what our server offers nothing of, or is not.
    idle = {
        check["name"]
        for check in record["checks"]
        if check["verdict"] in {"not offered", "left out"}
    }
    # Behind a login there is a test of its own.
    assert idle <= {"auth", "lmtp-replies", *(check.name for check in accounts.CHECKS)}
    assert len(record["checks"]) == len(CHECKS)


class Account(Strict):
    """The same for somebody who has logged in."""

    async def check_password(self, user: str, password: str) -> bool:
        return (user, password) == ("me@mx.test", "correct horse")


@pytest.fixture
def account_url(tls_context: ssl.SSLContext) -> Iterator[str]:
    options = smtpx.ServerOptions(
        hostname="mx.test", tls=tls_context, require_auth=True
    )
    server = smtpx.Server(Account, "127.0.0.1:0", options=options)
    with server.run_in_thread():
        yield f"smtp://{server.addresses[0]}"


@pytest.mark.parametrize("way", ["option", "variable", "file", "URL"])
def test_our_server_is_clean_behind_a_login(
    run: Runner,
    account_url: str,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
) -> None:
    words = ["-u", "me@mx.test"]
    if way == "option":
        words += ["--password", "correct horse", "--mechanism", "plain"]
    elif way == "variable":
        monkeypatch.setenv("SMTPX_PASSWORD", "correct horse")
    elif way == "file":
        path = tmp_path / "secret"
        path.write_text("correct horse\n")
        words += ["--password-file", str(path)]
    else:
        words = []
        account_url = account_url.replace("//", "//me%40mx.test:correct%20horse@")
    # All of them once, and what needs the login, each way.
    if way != "option":
        words += ["--only", "auth-mechanisms", "--only", "recipients"]
    ran = run(
        *("probe", account_url, "-r", RECIPIENT, "--fail-on", "unclear", *words),
        *("--ca-file", str(certificates / "ca.pem"), "--json", "-v"),
    )
    assert ran.code == 0, ran.out
    found = {one["name"]: one["verdict"] for one in json.loads(ran.out)["checks"]}
    assert found["auth-mechanisms"] == found["recipients"] == "ok"
    assert found.get("auth-required", "ok") == "ok"
    assert found.get("smuggling", "ok") == "ok"
    assert "correct horse" not in ran.out + ran.err


def test_a_refused_login(run: Runner, account_url: str, certificates: Path) -> None:
    trust = ("--ca-file", str(certificates / "ca.pem"))
    ran = run("probe", account_url, "-u", "me@mx.test", "--password", "x y z", *trust)
    assert ran.code == 77
    assert "cannot log in as 'me@mx.test'" in ran.err
    assert "x y z" not in ran.out + ran.err


def test_what_is_shown(run: Runner) -> None:
    with FlawedServer(Kind(frozenset({"LF ends a command"}))) as server:
        place = f"{HOST}:{server.port}"
        ran = run("probe", place, "--only", "line-ends", "--only", "smuggling")
    assert ran.out == (
        f"{place} (SMTP)\n"
        "  220 mx.example ESMTP\n"
        "\n"
        "Ends of commands (line-ends, RFC 5321 section 2.3.8)\n"
        "  weak         LF: a bare LF ends a command (replies: 250, 250)\n"
        "  ok           CR: a bare CR ends no command\n"
        "               -> end commands by CRLF only: what passes on such a line, as "
        "part of an address, brings commands along\n"
        "\n"
        "Ends of a message (smuggling, RFC 5321 section 4.1.1.4)\n"
        "  left out     it delivers messages: only with --recipient\n"
        "\n"
        "2 checks: 1 left out, 1 weak\n"
    )
    assert ran.code == 0


@pytest.mark.parametrize(
    ("fail_on", "code"), [("unsafe", 0), ("weak", 76), ("unclear", 76)]
)
def test_when_it_fails(run: Runner, fail_on: str, code: int) -> None:
    with FlawedServer(Kind(frozenset({"LF ends a command"}))) as server:
        url = f"smtp://{HOST}:{server.port}"
        ran = run("probe", url, "--only", "line-ends", "--fail-on", fail_on)
    assert ran.code == code
    assert ("by the check of: line-ends" in ran.err) == bool(code)


def test_unsafe_fails(run: Runner) -> None:
    with FlawedServer(Kind(frozenset({"chunk is run"}))) as server:
        ran = run("probe", f"{HOST}:{server.port}", "--only", "bdat-refused")
    assert ran.code == 76
    assert ran.err == ("smtpx: unsafe or worse, by the check of: bdat-refused\n")


def test_dialogue_is_shown_on_request(run: Runner) -> None:
    with FlawedServer(Kind()) as server:
        ran = run("probe", f"{HOST}:{server.port}", "--only", "quit", "-v")
    assert "C: QUIT\\r\\n\n" in ran.err
    assert "S: 221 2.0.0 bye\n" in ran.err


def test_quiet_shows_nothing(run: Runner) -> None:
    with FlawedServer(Kind()) as server:
        ran = run("probe", f"{HOST}:{server.port}", "--only", "quit", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_checks_are_listed(run: Runner) -> None:
    ran = run("probe", "--list")
    assert len(ran.out.splitlines()) == len(CHECKS)
    assert "starttls-injection  Commands behind STARTTLS; RFC 3207" in ran.out


@pytest.mark.parametrize("name", ["--only", "--skip"])
def test_check_that_does_not_exist(run: Runner, name: str) -> None:
    ran = run("probe", "localhost", name, "nonsense")
    assert ran.code == 64
    assert "there is no check nonsense; there are greeting, " in ran.err


def test_skipped_checks(run: Runner) -> None:
    with FlawedServer(Kind()) as server:
        names = [check.name for check in CHECKS if check.name != "quit"]
        skips = [word for name in names for word in ("--skip", name)]
        ran = run("probe", f"{HOST}:{server.port}", "--json", *skips)
    assert [one["name"] for one in json.loads(ran.out)["checks"]] == ["quit"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "name a server"),
        (["nonsense://x"], "the URL starts with none of"),
        (["smtp+mx://example.com"], "a domain has several servers"),
        (["localhost", "-r", "a@b\r\nRCPT"], ""),
        (["localhost", "--client-key", __file__], "--client-key needs --client-cert"),
        (
            ["localhost", "--insecure", "--server-name", "x"],
            "--insecure checks nothing",
        ),
    ],
)
def test_wrong_command_lines(run: Runner, words: list[str], text: str) -> None:
    ran = run("probe", *words)
    assert ran.code == 64
    assert text in ran.err


def test_nobody_listens(run: Runner, free_url: str) -> None:
    ran = run("probe", free_url)
    assert ran.code == 75
    assert "nothing listens there: check host and port" in ran.err


def test_a_server_that_says_nothing(run: Runner) -> None:
    """As one does that waits for a handshake of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        ran = run("probe", f"127.0.0.1:{port}", "--timeout", "0.1")
    assert ran.code == 75
    assert "from the start, write smtps://" in ran.err


def test_a_server_without_the_tls_of_the_url(run: Runner, serve: Starter) -> None:
    ran = run("probe", serve("smtps").url)
    assert ran.code == 75
    assert "wrong version number; for STARTTLS write smtp://" in ran.err


def test_a_server_that_does_not_want_to_talk(run: Runner) -> None:
    with FlawedServer(Kind(frozenset({"refuses"}))) as server:
        ran = run("probe", f"{HOST}:{server.port}")
    assert ran.code == 75
    assert "the server greets with a refusal: 554 5.7.1 no; " in ran.err


def test_insecure_leaves_the_certificate_out(
    run: Runner, serve: Starter, tls_context: ssl.SSLContext
) -> None:
    url = serve("smtps", tls=tls_context, implicit_tls=True).url
    ran = run("probe", url, "--only", "certificate", "--insecure")
    assert "left out     it is not checked, as --insecure says" in ran.out


def test_implicit_tls(
    run: Runner, serve: Starter, tls_context: ssl.SSLContext, certificates: Path
) -> None:
    url = serve("smtps", tls=tls_context, implicit_tls=True).url
    trust = ("--ca-file", str(certificates / "ca.pem"))
    ran = run("probe", url, *trust, "-r", RECIPIENT, "--json", "--fail-on", "unclear")
    found = {one["name"]: one for one in json.loads(ran.out)["checks"]}
    assert found["tls"]["verdict"] == found["certificate"]["verdict"] == "ok"
    assert found["starttls-injection"]["verdict"] == "not offered"
    assert found["early-talk"]["verdict"] == "left out"
    assert found["smuggling"]["verdict"] == "ok"
    assert ran.code == 0
