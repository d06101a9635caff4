"""``smtpx send`` as a proxy, as a gateway, and to the mail exchangers of a domain."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from smtpx.cli import sending
from smtpx.cli.failures import ExitCode, Failure
from smtpx.client.options import parse_url
from tests.architecture.layout import ROOT
from tests.net.nameserver import NameServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cli.conftest import Inbox, Run

    Runner = Callable[..., Run]
    Starter = Callable[..., Inbox]

PEOPLE = ("-f", "a@example.com", "-t", "b@example.net")
TEXT = ("--body", "x")
LOOPBACK = ("127.0.0.0/8",)


# --------------------------------------------------------------------------- a proxy


@pytest.mark.parametrize(
    ("told", "peer"),
    [
        ("192.0.2.7:40112 198.51.100.1:25", "192.0.2.7:40112"),
        ("[2001:db8::7]:40112 [2001:db8::1]:25", "[2001:db8::7]:40112"),
    ],
)
@pytest.mark.parametrize("version", [[], ["--proxy-version", "1"]])
def test_as_a_proxy(
    run: Runner, serve: Starter, told: str, peer: str, version: list[str]
) -> None:
    inbox = serve(proxy_networks=LOOPBACK)
    ran = run("send", "-s", inbox.url, PEOPLE, TEXT, "--proxy-header", told, version)
    assert (ran.code, inbox.only.peer) == (0, peer)


@pytest.mark.parametrize(
    ("options", "version", "is_local"),
    [
        (["unknown"], 2, False),
        (["unknown", "--proxy-version", "1"], 1, False),
        (["unknown", "--proxy-version", "2"], 2, False),
        (["local"], 2, True),
    ],
)
def test_a_proxy_that_tells_no_client(
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    version: int,
    is_local: bool,
) -> None:
    _, made = client_made_by(run, monkeypatch, "--proxy-header", *options)
    assert made.proxy_header == smtpx.ProxyHeader(
        None, None, version=version, is_local=is_local
    )


def client_made_by(
    run: Runner, monkeypatch: pytest.MonkeyPatch, *words: str, to: str = "b@example.net"
) -> tuple[str, smtpx.ClientOptions]:
    """Return the URL and the options that a client is made with; it does nothing."""
    made = []

    def make(url: str, *, options: smtpx.ClientOptions, auth: object) -> Any:  # noqa: ANN401
        made.append((url, options))
        raise Failure(ExitCode.SOFTWARE, "made")

    monkeypatch.setattr(sending, "Client", make)
    ran = run("send", "-f", "a@example.com", "-t", to, TEXT, words)
    assert ran.err == "smtpx: made\n"
    return made[0]


# ------------------------------------------------------------------------- a gateway


def test_as_a_gateway(run: Runner, serve: Starter, tmp_path: Path) -> None:
    inbox = serve(xclient_networks=LOOPBACK)
    names = []
    for number in range(3):
        path = tmp_path / f"{number}.eml"
        path.write_text("From: a@example.com\nTo: b@example.net\n\nhi\n")
        names.append(str(path))
    told = "ADDR=192.0.2.7 PORT=40112 LOGIN=ann"
    ran = run("send", "-s", inbox.url, names, "--xclient", told)
    assert ran.code == 0
    assert [one.peer for one in inbox.messages] == ["192.0.2.7:40112"] * 3
    assert {one.user for one in inbox.messages} == {"ann"}


def test_each_connection_speaks_for_the_client(
    run: Runner, serve: Starter, tmp_path: Path
) -> None:
    inbox = serve(xclient_networks=LOOPBACK)
    names = []
    for number, recipient in enumerate(("vanish", "b", "c")):
        path = tmp_path / f"{number}.eml"
        path.write_text(f"From: a@example.com\nTo: {recipient}@example.net\n\nhi\n")
        names.append(str(path))
    told = ("--xclient", "ADDR=192.0.2.7 PORT=40112")
    ran = run("send", "-s", inbox.url, names, "--no-pipelining", told)
    assert ran.code == 75
    # The first is answered with 421, so the others come over another connection.
    assert [one.recipients[0][0] for one in inbox.messages] == ["b", "c"]
    assert [one.peer for one in inbox.messages] == ["192.0.2.7:40112"] * 2


def test_a_client_that_logs_in(
    run: Runner, serve: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XCLIENT forgets who logged in, so the login comes after it."""
    inbox = serve(xclient_networks=LOOPBACK)
    monkeypatch.setenv("SMTPX_PASSWORD", "sesame")
    told = ("--xclient", "ADDR=127.0.0.7 PORT=40112", "-u", "alice")
    assert run("send", "-s", inbox.url, PEOPLE, TEXT, told).code == 0
    assert (inbox.only.peer, inbox.only.user) == ("127.0.0.7:40112", "alice")


def test_a_server_that_trusts_no_gateway(run: Runner, inbox: Inbox) -> None:
    told = ("--xclient", "ADDR=192.0.2.7")
    ran = run("send", "-s", inbox.url, PEOPLE, TEXT, told)
    assert ran.code == 69
    assert "XCLIENT" in ran.err
    ran = run("send", "-s", inbox.url, PEOPLE, TEXT, told, "--json")
    assert "XCLIENT" in json.loads(ran.out)["error"]
    assert inbox.messages == []


# ------------------------------------------------------------------------------- MX


@pytest.fixture
def names() -> Iterator[NameServer]:
    records = {
        ("example.net", "MX"): ["10 mx.test."],
        ("mx.test", "A"): ["127.0.0.1"],
    }
    with NameServer(records).running() as server:
        yield server


def test_to_the_mail_exchangers(
    run: Runner, inbox: Inbox, names: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the environment says is for other messages.
    monkeypatch.setenv("SMTPX_SERVER", "smtp://nowhere.invalid")
    port = inbox.url.rpartition(":")[2]
    ran = run(
        *("send", PEOPLE, "-t", "c@EXAMPLE.net", TEXT, "--mx", "--mx-port", port),
        *("--name-server", f"127.0.0.1:{names.port}"),
    )
    assert ran.code == 0
    assert inbox.only.recipients == ["b@example.net", "c@EXAMPLE.net"]
    assert ("example.net", "MX") in names.asked


def test_the_name_server_is_asked_for_other_hosts_too(
    run: Runner, inbox: Inbox, names: NameServer
) -> None:
    port = inbox.url.rpartition(":")[2]
    where = ("-s", f"smtp+plain://mx.test:{port}")
    asked = ("--name-server", f"127.0.0.1:{names.port}")
    assert run("send", where, PEOPLE, TEXT, asked).code == 0


@pytest.mark.parametrize(
    ("recipient", "url"),
    [
        ("b@example.net", "smtp+mx://example.net:25"),
        ("b@[192.0.2.1]", "smtp+mx://[192.0.2.1]:25"),
        ("b@[IPv6:2001:db8::1]", "smtp+mx://[2001:db8::1]:25"),
    ],
)
def test_where_it_goes(
    run: Runner, monkeypatch: pytest.MonkeyPatch, recipient: str, url: str
) -> None:
    made, _ = client_made_by(run, monkeypatch, "--mx", to=recipient)
    assert made == url
    assert parse_url(made).is_mx


# ------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--mx", "-s", "localhost"], 64, "--server and --mx: choose one"),
        (["--mx", "-u", "ann"], 64, "leave out --user (or SMTPX_USER)"),
        (["--mx-port", "25"], 64, "needs --mx"),
        (["--mx", "--mx-port", "0"], 64, "1<=x<=65535"),
        (["--mx", "-t", "c@example.com"], 65, "example.com, example.net; send to each"),
        (["--mx", "-t", "c@example.com", "--dry-run"], 65, "send to each by itself"),
        (["--name-server", "ns.test"], 64, "write 192.0.2.53 or"),
        (["--name-server", "ns.test:53"], 64, "write 192.0.2.53 or"),
        (["--name-server", ":53"], 64, "write 192.0.2.53 or"),
        (["--name-server", "192.0.2.53:0"], 64, "write 192.0.2.53 or"),
        (["--proxy-header", "192.0.2.7:1"], 64, "both of one family"),
        (["--proxy-header", "192.0.2.7:1 [::1]:1"], 64, "both of one family"),
        (["--proxy-header", ":1 :2"], 64, "both of one family"),
        (["--proxy-header", "a:1 b:2"], 64, "both of one family"),
        (["--proxy-version", "1"], 64, "needs --proxy-header"),
        (["--proxy-header", "local", "--proxy-version", "1"], 64, "use version 2"),
        (["--xclient", "ADDR=here"], 64, "write 'ADDR=192.0.2.7"),
        (["--xclient", ""], 64, "write 'ADDR=192.0.2.7"),
        (["--xclient", "FROG=1"], 64, "write 'ADDR=192.0.2.7"),
    ],
)
def test_wrong_use_is_one_line(
    run: Runner, arguments: list[str], code: int, said: str
) -> None:
    ran = run("send", PEOPLE, TEXT, arguments)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_the_page_about_it(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mail.eml").write_text("From: a@example.com\nTo: b@example.net\n\nhi\n")
    page = (ROOT / "docs/how-to/put-a-proxy-in-front.md").read_text()
    lines = re.findall(r"^smtpx (send .*)$", page, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        assert run(shlex.split(line), "--dry-run").code == 0, line
