"""``smtpx serve`` as a process: scripts and people meet it as one."""

from __future__ import annotations

import importlib.util
import mailbox
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
import types
from typing import TYPE_CHECKING

import pytest
import trustme

from smtpx.app.passwords import hash_password
from smtpx.cli.running import parse_listen_url
from smtpx.server.worker import find_loop
from tests.cli.processes import PYTHON, SECONDS, Serving, send

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Run
    from tests.cli.processes import Serving

PEOPLE = ["-f", "a@example.com", "-t", "b@example.net"]


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


# ------------------------------------------------- certificates, workers and systemd


def certificate_of(it: Serving) -> str:
    """Return the certificate that it shows; nothing of a worker that is about to go."""
    host, port = it.host_and_port
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = smtplib.SMTP(host, port, timeout=SECONDS)
    try:
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return ssl.DER_cert_to_PEM_cert(
            client.sock.getpeercert(binary_form=True) or b""
        )
    except (smtplib.SMTPResponseException, smtplib.SMTPServerDisconnected) as error:
        assert getattr(error, "smtp_code", 421) == 421  # noqa: PT017
        return ""
    finally:
        client.close()


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "live.pem"
    renew(path)
    return path


def renew(path: Path) -> str:
    """Write a new certificate; return it."""
    issued = trustme.CA().issue_cert("mx.test")
    fresh = path.with_suffix(".new")
    issued.private_key_and_cert_chain_pem.write_to_path(str(fresh))
    fresh.replace(path)
    return issued.cert_chain_pems[0].bytes().decode()


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_sighup_reads_the_certificate_again(
    start: Callable[..., Serving], pem: Path
) -> None:
    it = start("127.0.0.1:0", "--tls-cert", str(pem))
    before = certificate_of(it)
    after = renew(pem)
    assert certificate_of(it) == before
    it.process.send_signal(signal.SIGHUP)
    until(lambda: certificate_of(it) == after)
    pem.write_text("nonsense")
    it.process.send_signal(signal.SIGHUP)
    said = it.error_line()
    assert said.startswith("smtpx: the certificate stays as it was: ")
    assert "live.pem: no certificate with its key" in said
    assert certificate_of(it) == after
    it.stop()


def test_the_certificate_is_looked_at_now_and_then(
    start: Callable[..., Serving], pem: Path
) -> None:
    it = start("127.0.0.1:0", "--tls-cert", str(pem), "--tls-poll", "0.05")
    after = renew(pem)
    until(lambda: certificate_of(it) == after)
    it.stop()


def test_workers(start: Callable[..., Serving], tmp_path: Path, pem: Path) -> None:
    it = start(
        *("127.0.0.1:0", f"lmtp+unix://{tmp_path}/lmtp", "--workers", "2"),
        *("--maildir", str(tmp_path / "mail"), "--tls-cert", str(pem)),
        count=2,
    )
    assert it.addresses[1] == f"unix:{tmp_path}/lmtp"
    for number in range(4):
        send("-s", f"smtp+plain://{it.addresses[0]}", *PEOPLE, "--body", str(number))
        assert ": <a@example.com> to <b@example.net>: " in it.line()
    assert len(mailbox.Maildir(tmp_path / "mail", create=False)) == 4
    after = renew(pem)
    it.process.send_signal(signal.SIGHUP)
    # Each of the old workers may answer a while.
    until(lambda: all(certificate_of(it) == after for _ in range(4)))
    out, err = it.stop()
    assert out == ""
    assert "Traceback" not in err


def test_a_worker_that_cannot_serve(
    run: Callable[..., Run], start: Callable[..., Serving], tmp_path: Path
) -> None:
    assert run("serve", "--workers", "2", "--tls-cert", __file__).code == 66
    taken = start("127.0.0.1:0").addresses[0]
    ran = run("serve", taken, "--workers", "2")
    assert (ran.code, ran.out) == (71, "")
    assert "the address is in use" in ran.err


@pytest.mark.parametrize("scheme", ["systemd:in", "smtp+systemd://in", "systemd:"])
def test_a_socket_of_systemd(tmp_path: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
        program = f"""if True:
            import os, sys
            os.dup2({bound.fileno()}, 3, inheritable=True)
            os.environ["LISTEN_PID"] = str(os.getpid())
            os.execv(sys.executable, {[*PYTHON, "serve", scheme]})
        """
        with subprocess.Popen(
            [sys.executable, "-c", program],
            pass_fds=[bound.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "in"},
        ) as process:
            it = Serving(process, [f"127.0.0.1:{port}"], ["SMTP"])
            # Who connects before it listens waits.
            send("-s", it.addresses[0], *PEOPLE, "--body", "x")
            assert it.line() == f"listening on 127.0.0.1:{port} (SMTP)"
            it.stop()


def test_no_socket_of_systemd(run: Callable[..., Run]) -> None:
    ran = run("serve", "systemd:smtp")
    assert (ran.code, ran.out) == (71, "")
    assert "systemd handed over no such socket" in ran.err


# ------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["127.0.0.1"], 64, "write host:port"),
        (["127.0.0.1:x"], 64, "write host:port"),
        (["::1:25"], 64, "in brackets"),
        (["ftp://x:1"], 64, "begins with none of smtp://"),
        (["lmtp+unix://relative"], 64, "write lmtp+unix:///path"),
        (["smtps://127.0.0.1:0"], 64, "port 465 need --tls-cert"),
        (["127.0.0.1:465"], 64, "port 465 need --tls-cert"),
        (["smtp+starttls://127.0.0.1:0"], 64, "port 465 need --tls-cert"),
        (["--require-tls"], 64, "need --tls-cert"),
        (["--accept", "a b"], 64, "'a b' is neither a domain nor an address"),
        (["--tls-poll", "5"], 64, "need --tls-cert"),
        (["--tls-key", __file__], 64, "need --tls-cert"),
        (["--require-auth"], 64, "need --auth-file"),
        (["--maildir", "a", "--eml", "b"], 64, "choose one"),
        (["--accept", "a b"], 64, "--accept 'a b'"),
        (["--max-size", "-1"], 64, "no size"),
        (["--tls-cert", __file__], 66, "key in PEM form: give PEM files"),
        (["--tls-cert", "not-there"], 66, "'not-there' does not exist\n"),
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
        ("systemd:in", False, False, "in"),
        ("smtps+systemd://", False, True, ""),
        ("lmtp+systemd://in", True, False, "in"),
    ],
)
def test_addresses(text: str, is_lmtp: bool, is_tls: bool, address: str) -> None:
    kind, parsed = parse_listen_url(text)
    assert (kind.is_lmtp, kind.is_implicit_tls, parsed) == (is_lmtp, is_tls, address)
