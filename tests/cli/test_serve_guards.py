"""What ``smtpx serve`` lets clients do, whom it believes, and how it is watched."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.app.passwords import hash_password
from smtpx.cli.running import parse_listen_url
from smtpx.cli.screen import Screen
from smtpx.cli.serve import serve
from smtpx.cli.serving import ServeArguments, server_options
from tests.architecture.layout import ROOT
from tests.cli.processes import send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.cli.processes import Serving

PEOPLE = ["-f", "a@example.com", "-t", "b@example.net"]
NOBODY = ("--unlimited-from", "none")


def greeting(it: Serving, source: str = "127.0.0.1") -> tuple[smtplib.SMTP, str]:
    """Connect from an address; return the client and what greets it."""
    client = smtplib.SMTP(source_address=(source, 0))
    code, text = client.connect(*it.host_and_port)
    return client, f"{code} {text.decode()}"


def greetings(it: Serving, *sources: str) -> list[str]:
    """Connect from each address, all at the same time; return codes."""
    pairs = [greeting(it, source) for source in sources]
    for client, _ in pairs:
        client.close()
    return [said[:3] for _, said in pairs]


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(f"alice:{hash_password('sesame')}\n")
    return path


# ------------------------------------------------------------------------------- TLS


def test_tls_at_each_address(start: Callable[..., Serving], certificates: Path) -> None:
    it = start(
        *("smtp://127.0.0.1:0", "smtp+starttls://127.0.0.1:0"),
        *("--tls-cert", str(certificates / "server.pem")),
        count=2,
    )
    plain, required = it.addresses
    for address, code in ((plain, 250), (required, 530)):
        host, _, port = address.rpartition(":")
        with smtplib.SMTP(host, int(port)) as client:
            client.ehlo()
            assert client.docmd("MAIL FROM:<a@example.com>")[0] == code
    trust = ("--ca-file", str(certificates / "ca.pem"))
    send("-s", f"smtp+starttls://{required}", *trust, *PEOPLE, "--body", "x")


@pytest.mark.parametrize(
    ("url", "is_implicit", "requires"),
    [
        ("127.0.0.1:465", True, False),
        ("smtp://:465", True, False),
        ("127.0.0.1:587", False, False),
        ("lmtp://:465", False, False),
        ("smtp+starttls://:465", False, True),
        ("smtps://:587", True, False),
    ],
)
def test_when_tls_begins(url: str, is_implicit: bool, requires: bool) -> None:
    kind, _ = parse_listen_url(url)
    assert (kind.is_implicit_tls, kind.requires_tls) == (is_implicit, requires)


def test_no_login_without_tls(
    start: Callable[..., Serving], certificates: Path, users: Path
) -> None:
    strict = (
        *("127.0.0.1:0", "--auth-file", str(users), "--require-tls-for-auth"),
        *("--tls-cert", str(certificates / "server.pem")),
    )
    it = start(*strict)
    with smtplib.SMTP(*it.host_and_port) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
        client.starttls(context=context)
        client.ehlo()
        assert client.login("alice", "sesame")[0] == 235
    # Whoever comes from there may; the others still may not.
    for networks, may in ((("192.0.2.0/24", "127.0.0.1"), True), (("::1",), False)):
        options = [word for one in networks for word in ("--plaintext-from", one)]
        it = start(*strict, *options)
        with smtplib.SMTP(*it.host_and_port) as client:
            client.ehlo()
            assert ("auth" in client.esmtp_features) is may


def test_mechanisms_that_show_no_password_need_tls_as_well() -> None:
    """The command offers none yet, so no client can tell."""
    assert options_of("--require-tls-for-auth").require_tls_for_auth


# ---------------------------------------------------------------------------- guards


@pytest.mark.parametrize(
    ("options", "sources", "codes"),
    [
        (["--max-connections", "2"], ["127.0.0.1", "127.0.0.2"], "220 220"),
        (["--max-connections", "1"], ["127.0.0.1", "127.0.0.2"], "220 421"),
        (
            [*NOBODY, "--max-connections-per-ip", "1"],
            ["127.0.0.1", "127.0.0.1", "127.0.0.2"],
            "220 421 220",
        ),
        (
            [*NOBODY, "--max-connections-per-network", "1"],
            ["127.0.0.1", "127.0.0.2", "127.0.1.1"],
            "220 421 220",
        ),
        (
            [*NOBODY, "--rate", "connections=2/hour"],
            ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"],
            "220 220 421 220",
        ),
        (
            [*NOBODY, "--rate", "connections=1/h/network"],
            ["127.0.0.1", "127.0.0.2", "127.0.1.1"],
            "220 421 220",
        ),
        # By default, and of those that are named.
        (["--rate", "connections=1/hour"], ["127.0.0.1"] * 2, "220 220"),
        (
            [
                *("--rate", "connections=1/hour", "--unlimited-from", "127.0.0.2"),
                *("--unlimited-from", "192.0.2.0/24"),
            ],
            ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"],
            "220 421 220 220",
        ),
    ],
)
def test_how_many_may_connect(
    start: Callable[..., Serving], options: list[str], sources: list[str], codes: str
) -> None:
    it = start("127.0.0.1:0", *options)
    assert " ".join(greetings(it, *sources)) == codes


def test_rates_within_a_session(start: Callable[..., Serving], users: Path) -> None:
    it = start(
        *("127.0.0.1:0", *NOBODY, "--auth-file", str(users)),
        *("--rate", "messages=2/hour", "--rate", "recipients=3/hour"),
        *("--rate", "recipients=1/hour/user", "--rate", "failed-logins=1/hour"),
    )
    with smtplib.SMTP(*it.host_and_port) as client:
        client.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("alice", "wrong")
        code, text = client.docmd("AUTH PLAIN AGFsaWNlAHNlc2FtZQ==")
        assert (code, text[:6]) == (454, b"4.7.28")
        codes = [
            client.docmd(command)[0]
            for command in (
                "MAIL FROM:<a@example.com>",
                *["RCPT TO:<b@example.net>"] * 4,
                "RSET",
                *("MAIL FROM:<a@example.com>", "RSET"),
                "MAIL FROM:<a@example.com>",
            )
        ]
    # Nobody logged in, so the rule by user counts nothing.
    assert codes == [250, 250, 250, 250, 450, 250, 250, 250, 450]


def test_a_rate_by_user(start: Callable[..., Serving], users: Path) -> None:
    it = start(
        *("127.0.0.1:0", *NOBODY, "--auth-file", str(users)),
        *("--rate", "messages=1/hour/user"),
    )
    codes = []
    for source in ("127.0.0.1", "127.0.0.2"):
        client, _ = greeting(it, source)
        with client:
            client.ehlo()
            client.login("alice", "sesame")
            codes.append(client.docmd("MAIL FROM:<a@example.com>")[0])
    assert codes == [250, 450]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ([], "220"),
        (["--redis-policy", "open"], "220"),
        (["--redis-policy", "closed"], "421 4.3.0"),
    ],
)
def test_while_redis_is_down(
    start: Callable[..., Serving], free_url: str, policy: list[str], said: str
) -> None:
    url = "redis://ann:hush@" + free_url.partition("://")[2]
    it = start(
        *("127.0.0.1:0", *NOBODY, "--rate", "connections=1/hour", *policy),
        SMTPX_REDIS=url,
    )
    client, greeted = greeting(it)
    client.close()
    assert greeted.startswith(said)
    _, err = it.stop()
    assert "RedisRateLimiter('redis://127.0.0.1" in err
    assert "hush" not in err


def test_who_talks_before_the_greeting(start: Callable[..., Serving]) -> None:
    it = start("127.0.0.1:0", *NOBODY, "--greeting-delay", "120")
    with socket.create_connection(it.host_and_port) as client:
        client.sendall(b"EHLO early.test\r\n")
        assert client.makefile("rb").readline().startswith(b"554 5.5.1 ")


def options_of(*words: str) -> smtpx.ServerOptions:
    """Return the options that a command line leads to."""
    context = serve.make_context("serve", list(words))
    arguments = ServeArguments(**context.params)
    return server_options(arguments, Screen())


def test_delays() -> None:
    options = options_of("--greeting-delay", "0.5", "--error-delay", "3")
    assert options.greeting_delay == smtpx.GreetingDelay(0.5)
    assert options.error_delay == smtpx.ErrorDelay(3.0)
    assert options_of("--error-delay", "90").error_delay == smtpx.ErrorDelay(
        90.0, max_seconds=90.0
    )
    options = options_of()
    assert (options.greeting_delay, options.error_delay) == (None, None)


def test_what_is_not_said_is_as_in_the_library() -> None:
    given, default = options_of(), smtpx.ServerOptions()
    for name in (
        *("max_connections", "max_connections_per_ip", "max_connections_per_network"),
        *("unlimited_networks", "proxy_networks", "xclient_networks", "guards"),
        *("xforward_networks", "plaintext_networks", "require_tls_for_auth", "events"),
        "local_plaintext_auth",
    ):
        assert getattr(given, name) == getattr(default, name), name


# ------------------------------------------------------------------- who is believed


@pytest.mark.parametrize("version", [1, 2])
def test_proxies(start: Callable[..., Serving], tmp_path: Path, version: int) -> None:
    it = start(
        *("127.0.0.1:0", "--eml", str(tmp_path)),
        *("--proxy-from", "192.0.2.1", "--proxy-from", "127.0.0.1"),
    )
    header = smtpx.ProxyHeader(
        ("192.0.2.7", 40112), ("198.51.100.1", 25), version=version
    )
    smtpx.send(
        b"Subject: hi\r\n\r\n",
        to=f"smtp+plain://{it.addresses[0]}",
        sender="a@example.com",
        recipients=["b@example.net"],
        client_options=smtpx.ClientOptions(proxy_header=header),
    )
    assert it.line().endswith("ESMTP from 192.0.2.7:40112")


def test_gateways(start: Callable[..., Serving], tmp_path: Path) -> None:
    it = start(
        *(f"unix:{tmp_path}/smtp", "--eml", str(tmp_path)),
        *("--xclient-from", "unix:", "--xforward-from", "unix:"),
    )
    people = ("a@example.com", ["b@example.net"])
    with smtpx.Client(f"smtp+unix://{tmp_path}/smtp") as client:
        client.xforward(smtpx.XForward(addr="192.0.2.8"))
        client.send(b"Subject: hi\r\n\r\n", sender=people[0], recipients=people[1])
        client.xclient(smtpx.XClient(addr="192.0.2.7", port=40112))
        client.send(b"Subject: hi\r\n\r\n", sender=people[0], recipients=people[1])
    assert it.line().endswith("from unix:, forwarded for 192.0.2.8")
    assert it.line().endswith("ESMTP from 192.0.2.7:40112")
    # Each of the two by itself.
    for option, offered in (("xclient", "XCLIENT"), ("xforward", "XFORWARD")):
        it = start("127.0.0.1:0", f"--{option}-from", "127.0.0.0/8")
        with smtplib.SMTP(*it.host_and_port) as other:
            other.ehlo()
            found = {"xclient", "xforward"} & set(other.esmtp_features)
            assert found == {offered.lower()}


# -------------------------------------------------------------------------- watching


def test_metrics(start: Callable[..., Serving], run: Callable[..., Run]) -> None:
    it = start("127.0.0.1:0", "--metrics", "0", "-q")
    match = re.fullmatch(r"metrics on (http://(127\.0\.0\.1:\d+)/metrics)", it.line())
    assert match
    send("-s", it.addresses[0], *PEOPLE, "--body", "x")
    with urllib.request.urlopen(match[1]) as reply:
        shown = reply.read().decode()
    assert 'smtpx_messages_total{result="accepted"} 1.0' in shown
    assert "process_resident_memory_bytes " in shown
    assert run("serve", "127.0.0.1:0", "--metrics", match[2]).err == (
        f"smtpx: --metrics {match[2]}: Address already in use; take another address\n"
    )
    it.stop()


def test_metrics_elsewhere(start: Callable[..., Serving]) -> None:
    it = start("127.0.0.1:0", "--metrics", "127.0.0.2:0")
    assert it.line().startswith("metrics on http://127.0.0.2:")


@pytest.mark.parametrize("others", [[], ["--workers", "1"]])
def test_events_in_the_log(
    start: Callable[..., Serving], tmp_path: Path, others: list[str]
) -> None:
    it = start("127.0.0.1:0", "--log-events", "--eml", str(tmp_path), *others)
    send("-s", it.addresses[0], *PEOPLE, "--body", "x")
    it.line()
    _, err = it.stop()
    assert re.search(r"^smtpx: \w+ connected peer=127\.0\.0\.1:", err, re.MULTILINE)
    assert re.search(
        r"^smtpx: \w+ message sender=a@example\.com recipients=1 accepted=1 ",
        err,
        re.MULTILINE,
    )
    assert " rcpt " not in err


# ------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "connections"], "'' is no rate: write 20/minute"),
        (["--rate", "octets=1/s"], "none of connections, messages, recipients, failed"),
        (["--rate", "connections=1/fortnight"], "write 20/minute"),
        (["--rate", "messages=1/s/planet"], "write one of address, network, user"),
        (["--rate", "connections=1/s/user"], "cannot be counted by user"),
        (["--rate", "connections=0/s"], "count of a rate must be at least 1"),
        (["--rate", "failed-logins=1/s"], "needs --auth-file"),
        (["--rate", "messages=1/s/user"], "needs --auth-file: nobody logs in"),
        (["--rate", "messages=1/s", "--workers", "2"], "share it with --redis"),
        (["--redis", "redis://x"], "counts for --rate: give some"),
        (["--redis-policy", "closed"], "needs --redis"),
        (["--redis", "http://x:hush", "--rate", "messages=1/s"], "redis://HOST:6379"),
        (["--metrics", "9100", "--workers", "2"], "leave out --workers"),
        (["--metrics", "localhost"], "write 9100, for this machine alone"),
        (["--metrics", ":70000"], "write 9100, for this machine alone"),
        (["--proxy-from", "10.0.0.1/8"], "has host bits set: write 192.0.2.0/24"),
        (["--xclient-from", "here"], "'--xclient-from': 'here' does not appear"),
        (["--xforward-from", "here"], "'--xforward-from': 'here' does not appear"),
        (["--plaintext-from", "unix:"], "'--plaintext-from': 'unix:' does not"),
        (["--plaintext-from", "127.0.0.1"], "give one of them"),
        (["--unlimited-from", "unix:"], "'--unlimited-from': 'unix:' does not"),
        ([*NOBODY, "--unlimited-from", "::1"], "leave out the others"),
        (["--require-tls-for-auth"], "need --auth-file"),
        (["--require-tls-for-auth", "--auth-file", __file__], "needs --tls-cert"),
        (["--greeting-delay", "0"], "0<x<=120"),
        (["--error-delay", "121"], "0<x<=120"),
        (["--max-connections", "0"], "x>=1"),
        (["--max-connections-per-ip", "0"], "x>=1"),
        (["--max-connections-per-network", "0"], "x>=1"),
    ],
)
def test_wrong_use_is_one_line(
    run: Callable[..., Run], arguments: list[str], said: str
) -> None:
    ran = run("serve", "127.0.0.1:0", arguments)
    assert (ran.code, ran.out) == (64, "")
    assert said in ran.err
    assert "hush" not in ran.err
    assert ran.err.count("\n") == 1


def test_the_pages_about_it(
    run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    certificates: Path,
    users: Path,
) -> None:
    """Each command line of the pages is right; nobody listens on its addresses."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server.pem").write_bytes((certificates / "server.pem").read_bytes())
    page = (ROOT / "docs/how-to/serve-from-a-shell.md").read_text()
    page += (ROOT / "docs/how-to/put-a-proxy-in-front.md").read_text()
    lines = re.findall(r"^smtpx serve (.*)$", page, re.MULTILINE)
    assert len(lines) == 16
    for line in lines:
        # It fails once all else was checked, and before anything is done.
        ran = run("serve", line.split(), "systemd:nowhere")
        assert (ran.code, ran.out) == (71, ""), line
        assert "systemd handed over no such socket" in ran.err
        options_of(*line.split())


def test_users_may_come_from_a_gateway() -> None:
    words = ["--rate", "messages=1/s/user", "--xclient-from", "127.0.0.1"]
    assert len(options_of(*words).guards) == 1


@pytest.mark.parametrize(
    ("module", "arguments", "package"),
    [
        ("throttled.asyncio", ["--rate", "messages=1/s"], "smtpx[limits]"),
        (
            "smtpx.server.redis_store",
            ["--rate", "messages=1/s", "--redis", "redis://127.0.0.1"],
            "smtpx[redis]",
        ),
        ("prometheus_client", ["--metrics", "0"], "smtpx[prometheus]"),
    ],
)
def test_an_extra_that_is_not_installed(
    run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    arguments: list[str],
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    ran = run("serve", "127.0.0.1:0", arguments)
    assert (ran.code, ran.out) == (69, "")
    assert f"pip install '{package}'" in ran.err
    assert ran.err.count("\n") == 1
