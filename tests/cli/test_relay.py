"""``smtpx relay``: a process between a client and a server."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import Serving, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Inbox, Run

LISTEN = "127.0.0.1:0"
CONTENT = "Subject: hi\r\n\r\nhello\r\n"


def relaying(
    *arguments: str, upstream: str = ""
) -> contextlib.AbstractContextManager[Serving]:
    return serving(*arguments, command="relay", SMTPX_UPSTREAM=upstream)


@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
def test_a_message_passes(serve: Callable[..., Inbox], loop: str) -> None:
    inbox = serve(dsn=False)
    with relaying(LISTEN, inbox.url, loop, "--wire-log") as it:
        with smtplib.SMTP(*it.host_and_port) as client:
            client.ehlo("client.test")
            # What the next server has not, this one has neither.
            assert client.has_extn("smtputf8")
            assert not client.has_extn("dsn")
            client.sendmail("a@example.com", ["b@example.net"], CONTENT)
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                client.sendmail("a@example.com", ["nobody@example.net"], CONTENT)
        [(code, text)] = refused.value.recipients.values()
        assert (code, text) == (550, b"5.1.1 no such mailbox")
        out, err = it.stop()
    assert inbox.only.sender == "a@example.com"
    assert inbox.only.content == CONTENT.encode()
    assert out == ""
    assert "next server C: MAIL FROM:<a@example.com>" in err
    assert "stopping; once more to stop now\n" in err


def test_tls_passwords_and_sizes(
    serve: Callable[..., Inbox], certificates: Path, tls_context: ssl.SSLContext
) -> None:
    inbox = serve("smtp+starttls", tls=tls_context, dsn=True)
    trust = str(certificates / "ca.pem")
    with relaying(
        *(LISTEN, "--ca-file", trust, "--pass-auth", "--max-size", "1k", "--xforward"),
        *("--tls-cert", str(certificates / "server.pem"), "--require-tls", "--quiet"),
        *("--hostname", "relay.test"),
        upstream=inbox.url,
    ) as it:
        with smtplib.SMTP(*it.host_and_port) as client:
            client.ehlo("client.test")
            assert client.docmd("MAIL FROM:<a@example.com>")[0] == 530
            client.starttls(context=ssl.create_default_context(cafile=trust))
            client.ehlo("client.test")
            assert client.has_extn("dsn")
            assert client.esmtp_features["size"] == "1024"
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("alice", "wrong")
            client.login("alice", "sesame")
            client.sendmail("a@example.com", ["b@example.net"], CONTENT)
        out, err = it.stop()
    # Of a machine that is busy asyncio's debug mode may complain.
    assert (out, "stopping" in err) == ("", False)
    assert inbox.only.user == "alice"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((LISTEN,), "UPSTREAM"),
        ((LISTEN, "http://mx.test"), "UPSTREAM: the URL starts with none of"),
        (("http://x:1", "smtp://mx.test"), "begins with none of"),
        (("smtps://:0", "smtp://mx.test"), "need --tls-cert"),
        ((LISTEN, "smtp://mx.test", "--require-tls"), "need --tls-cert"),
        ((LISTEN, "smtp://mx.test", "--tls-key", __file__), "need --tls-cert"),
        ((LISTEN, "smtp://mx.test", "--ca-file", __file__), "--ca-file"),
        ((LISTEN, "smtp://mx.test", "--tls-cert", __file__), "--tls-cert"),
    ],
)
def test_mistakes(
    run: Callable[..., Run],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    monkeypatch.delenv("SMTPX_UPSTREAM", raising=False)
    ended = run("relay", arguments)
    assert ended.code != 0
    assert reason in ended.err
    assert ended.out == ""


def test_a_next_server_that_is_not_there(run: Callable[..., Run]) -> None:
    ended = run("relay", LISTEN, "smtp://127.0.0.1:1")
    assert ended.code != 0
    assert "no connection to 127.0.0.1:1" in ended.err
