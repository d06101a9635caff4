"""``smtpx serve`` as a process: scripts and people meet it as one."""

from __future__ import annotations

import importlib.util
import mailbox
import os
import re
import signal
import smtplib
import subprocess
import sys
import types
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.app.passwords import hash_password
from smtpx.cli.running import find_loop, parse_listen_url
from tests.cli.processes import PYTHON, SECONDS, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.cli.processes import Serving

PEOPLE = ["-f", "a@example.com", "-t", "b@example.net"]


def send(*arguments: str, password: str = "", content: bytes | None = None) -> str:
    """Run ``smtpx send``; return its output."""
    ran = subprocess.run(
        [*PYTHON, "send", *arguments],
        input=content,
        stdin=subprocess.DEVNULL if content is None else None,
        capture_output=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | ({"SMTPX_PASSWORD": password} if password else {}),
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.decode()


@pytest.fixture
def start() -> Iterator[Callable[..., Serving]]:
    with ExitStack() as stack:

        def start(*arguments: str, **how: Any) -> Serving:  # noqa: ANN401
            return stack.enter_context(serving(*arguments, **how))

        yield start


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
def test_to_a_maildir(start: Callable[..., Serving], tmp_path: Path, loop: str) -> None:
    it = start("127.0.0.1:0", "--maildir", str(tmp_path / "mail"), loop)
    said = send("-s", it.addresses[0], *PEOPLE, "--subject", "hi", "--body", "hello")
    assert said.startswith("message: sent, ")
    queued = said.split()[2]
    box = mailbox.Maildir(tmp_path / "mail", create=False)
    [message] = list(box)
    assert message["Return-Path"] == "<a@example.com>"
    assert message["Subject"] == "hi"
    assert "for <b@example.net>; " in str(message["Received"])
    told = it.line()
    assert f"{queued}: <a@example.com> to <b@example.net>: " in told
    assert "ESMTP from 127.0.0.1:" in told
    out, err = it.stop()
    assert out == ""
    assert err == "stopping; once more to stop now\n"


def test_to_the_terminal(start: Callable[..., Serving]) -> None:
    it = start("127.0.0.1:0", "--no-trace")
    content = b"Subject: hi\n\n\x1b[2Jbye\n"
    send("-s", it.addresses[0], *PEOPLE, "-", content=content)
    shown = [it.line() for _ in range(4)]
    assert shown[:3] == ["Subject: hi", "", "\\x1b[2Jbye"]
    assert "shown: <a@example.com> to <b@example.net>" in shown[3]
    it.stop()


def test_many_addresses_and_kinds(
    start: Callable[..., Serving], tmp_path: Path, certificates: Path
) -> None:
    urls = [
        "smtp://127.0.0.1:0",
        f"unix:{tmp_path}/smtp",
        "smtps://127.0.0.1:0",
        "lmtp://127.0.0.1:0",
        f"lmtp+unix://{tmp_path}/lmtp",
    ]
    certificate = str(certificates / "server.pem")
    it = start(
        *(*urls, "--tls-cert", certificate, "--eml", str(tmp_path / "eml")), count=5
    )
    smtp, smtp_unix, smtps, lmtp, lmtp_unix = it.addresses
    assert smtp_unix == f"unix:{tmp_path}/smtp"
    assert lmtp_unix == f"unix:{tmp_path}/lmtp"
    trust = ("--ca-file", str(certificates / "ca.pem"))
    protocols = []
    for url in [
        f"smtp+plain://{smtp}",
        f"smtp+starttls://{smtp}",
        f"smtps://{smtps}",
        f"smtp+unix://{tmp_path}/smtp",
        f"lmtp://{lmtp}",
        f"lmtp+unix://{tmp_path}/lmtp",
    ]:
        send("-s", url, *trust, *PEOPLE, "--body", "x")
        protocols.append(re.findall(r"(\S+) from ", it.line())[0])
    assert protocols == ["ESMTP", "ESMTPS", "ESMTPS", "ESMTP", "LMTPS", "LMTP"]
    files = list((tmp_path / "eml").glob("*.eml"))
    assert len(files) == 6
    assert all(b"\r\n\r\nx\r\n" in path.read_bytes() for path in files)
    it.stop()
    assert not (tmp_path / "smtp").exists()


def test_passwords_tls_and_the_wire_log(
    start: Callable[..., Serving], tmp_path: Path, certificates: Path
) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:{hash_password('open sesame')}\n")
    it = start(
        *("127.0.0.1:0", "--auth-file", str(users), "--require-auth", "--require-tls"),
        *("--tls-cert", str(certificates / "server.pem"), "--wire-log"),
        *("--eml", str(tmp_path / "eml"), "--hostname", "mx.test"),
    )
    url = f"smtp+starttls://{it.addresses[0]}"
    trust = ("--ca-file", str(certificates / "ca.pem"))
    auth = ("-u", "alice", *trust)
    send("-s", url, *auth, *PEOPLE, "--body", "x", password="open sesame")
    assert it.line().endswith("user alice")
    with smtplib.SMTP(*it.host_and_port) as client:
        # Nothing but STARTTLS is taken in clear.
        assert client.docmd("MAIL FROM:<a@example.com>")[0] in {503, 530}
        assert client.ehlo()[0] == 250
        assert client.docmd("MAIL FROM:<a@example.com>")[0] == 530
    _, err = it.stop()
    assert re.search(r"^\w+ S: 220 mx\.test ESMTP", err, re.MULTILINE)
    assert re.search(r"^\w+ C: AUTH PLAIN \*\*\*$", err, re.MULTILINE)
    assert "sesame" not in err
    assert "b3BlbiBzZXNhbWU" not in err


def test_who_is_accepted_and_how_much(
    start: Callable[..., Serving], tmp_path: Path
) -> None:
    it = start(
        *("127.0.0.1:0", "--accept", "Example.NET", "--accept", "Bob@example.org"),
        *("--max-size", "10k", "--max-recipients", "3", "--eml", str(tmp_path)),
    )
    with smtplib.SMTP(*it.host_and_port) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "10240"
        client.mail("a@example.com")
        codes = [
            client.rcpt(recipient)[0]
            for recipient in (
                *("x@example.net", "bob@EXAMPLE.org", "alice@example.org"),
                *("x@sub.example.net", "postmaster", "x@example.net"),
            )
        ]
        assert codes == [250, 250, 550, 550, 250, 452]
        client.rset()
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail("a@example.com", ["x@example.net"], b"x" * 11_000)
    it.stop()
    assert list(tmp_path.glob("*.eml")) == []


def test_a_message_under_way_is_finished(
    start: Callable[..., Serving], tmp_path: Path
) -> None:
    it = start("127.0.0.1:0", "--eml", str(tmp_path), "--grace", str(SECONDS))
    idle = smtplib.SMTP(*it.host_and_port)
    busy = smtplib.SMTP(*it.host_and_port)
    busy.ehlo()
    busy.mail("a@example.com")
    busy.rcpt("b@example.net")
    assert busy.docmd("DATA")[0] == 354
    it.process.send_signal(signal.SIGINT)
    assert it.error_line().startswith("stopping")
    # Who is idle is told so, and sent away.
    assert idle.getreply()[0] == 421
    idle.close()
    busy.send(b"Subject: last\r\n\r\nbye\r\n.\r\n")
    assert busy.getreply()[0] == 250
    assert busy.getreply()[0] == 421
    busy.close()
    assert it.process.wait(SECONDS) == 0
    [path] = tmp_path.glob("*.eml")
    assert path.read_bytes().endswith(b"Subject: last\r\n\r\nbye\r\n")


def test_a_second_signal_stops_at_once(
    start: Callable[..., Serving], tmp_path: Path
) -> None:
    it = start("127.0.0.1:0", "--eml", str(tmp_path), "--grace", "86400")
    with smtplib.SMTP(*it.host_and_port) as busy:
        busy.ehlo()
        busy.mail("a@example.com")
        busy.rcpt("b@example.net")
        assert busy.docmd("DATA")[0] == 354
        busy.send(b"half of it")
        it.process.send_signal(signal.SIGTERM)
        assert it.error_line().startswith("stopping")
        it.process.send_signal(signal.SIGTERM)
        assert it.process.wait(SECONDS) == 0
        busy.close()
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_a_full_disk_is_told_to_client_and_operator(
    start: Callable[..., Serving], tmp_path: Path
) -> None:
    folder = tmp_path / "mail"
    it = start("127.0.0.1:0", "--maildir", str(folder))
    (folder / "tmp").rmdir()
    with smtplib.SMTP(*it.host_and_port) as client:
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail("a@example.com", ["b@example.net"], b"x\r\n")
        assert caught.value.smtp_code == 452
        assert b"No such file" not in caught.value.smtp_error
    _, err = it.stop()
    assert "cannot store a message: " in err
    assert "Traceback" not in err


# ------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["127.0.0.1"], 64, "write host:port"),
        (["127.0.0.1:x"], 64, "write host:port"),
        (["::1:25"], 64, "in brackets"),
        (["ftp://x:1"], 64, "begins with none of smtp://"),
        (["lmtp+unix://relative"], 64, "write lmtp+unix:///path"),
        (["smtps://127.0.0.1:0"], 64, "smtps:// needs --tls-cert"),
        (["--require-tls"], 64, "need --tls-cert"),
        (["--tls-key", __file__], 64, "need --tls-cert"),
        (["--require-auth"], 64, "needs --auth-file"),
        (["--maildir", "a", "--eml", "b"], 64, "choose one"),
        (["--accept", "a b"], 64, "--accept 'a b'"),
        (["--max-size", "-1"], 64, "no size"),
        (["--tls-cert", __file__], 66, "no certificate with its key"),
        (["--auth-file", __file__], 65, "line 1 "),
        (["--eml", f"{__file__}/x"], 73, "cannot make the folder"),
        (["unix:/no/such/folder/socket"], 71, "cannot listen on unix:/no/such"),
    ],
)
def test_wrong_use_is_one_line(
    run: Callable[..., Run], arguments: list[str], code: int, said: str
) -> None:
    ran = run("serve", arguments)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.startswith("smtpx: ")
    assert ran.err.count("\n") == 1


def test_a_port_in_use(run: Callable[..., Run], start: Callable[..., Serving]) -> None:
    address = start("127.0.0.1:0").addresses[0]
    ran = run("serve", address)
    assert ran.code == 71
    assert ran.err == (
        f"smtpx: cannot listen on {address}: the address is in use: stop what listens "
        "there, or take another one\n"
    )


def test_if_one_address_fails_nothing_is_announced(
    run: Callable[..., Run], start: Callable[..., Serving]
) -> None:
    taken = start("127.0.0.1:0").addresses[0]
    ran = run("serve", "127.0.0.1:0", f"lmtp://{taken}")
    assert (ran.code, ran.out) == (71, "")


def test_the_fast_loop_is_used_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "uvloop")
    made = object()
    loops = types.SimpleNamespace(new_event_loop=lambda: made)
    monkeypatch.setitem(sys.modules, "uvloop", loops)
    factory = find_loop()
    assert factory is not None
    assert factory() is made
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert find_loop() is None


@pytest.mark.parametrize(
    ("text", "is_lmtp", "is_tls", "address"),
    [
        ("127.0.0.1:25", False, False, "127.0.0.1:25"),
        (":25", False, False, ":25"),
        ("[::1]:25", False, False, "[::1]:25"),
        ("SMTP://h:25/", False, False, "h:25"),
        ("smtps://h:465", False, True, "h:465"),
        ("lmtp://h:24", True, False, "h:24"),
        ("unix:/a", False, False, "unix:/a"),
        ("smtp+unix:///a", False, False, "unix:/a"),
        ("lmtp+unix:///a b", True, False, "unix:/a b"),
    ],
)
def test_addresses(text: str, is_lmtp: bool, is_tls: bool, address: str) -> None:
    kind, parsed = parse_listen_url(text)
    assert (kind.is_lmtp, kind.is_implicit_tls, parsed) == (is_lmtp, is_tls, address)
