"""``smtpx send`` against a server: what it sends, says, and ends with."""

from __future__ import annotations

import email
import email.policy
import io
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.cli import auth_options

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.cli.conftest import Inbox, Run

    Runner = Callable[..., Run]
    Starter = Callable[..., Inbox]

PEOPLE = ("--from", "a@example.com", "--to", "b@example.net")


def message_file(folder: Path, text: str = "") -> str:
    path = folder / "message.eml"
    path.write_bytes(
        (
            text
            or "From: Ann <a@example.com>\nTo: b@example.net, c@example.net\n"
            "Subject: hi\n\n.hello\n"
        ).encode()
    )
    return str(path)


# ------------------------------------------------------------------------ what is sent


def test_a_file_is_sent_as_it_is(run: Runner, inbox: Inbox, tmp_path: Path) -> None:
    ran = run("send", "-s", inbox.url, message_file(tmp_path))
    assert ran.code == 0
    assert inbox.only.sender == "a@example.com"
    assert inbox.only.recipients == ["b@example.net", "c@example.net"]
    assert inbox.only.content == (
        b"From: Ann <a@example.com>\r\nTo: b@example.net, c@example.net\r\n"
        b"Subject: hi\r\n\r\n.hello\r\n"
    )
    assert ran.out == (
        f"{tmp_path / 'message.eml'}: sent, N1\n"
        "  250 2.0.0 queued as N1\n"
        "  accepted  b@example.net  250 2.1.5 recipient OK\n"
        "  accepted  c@example.net  250 2.1.5 recipient OK\n"
    )
    assert ran.err == ""


def test_bcc_gets_the_message_and_is_not_in_it(
    run: Runner, inbox: Inbox, tmp_path: Path
) -> None:
    text = (
        "From: a@example.com\nBcc: d@example.net,\n e@example.net\n"
        "To: b@example.net\nResent-Bcc: x@example.net\n\nBcc: stays in the body\n"
    )
    assert run("send", "-s", inbox.url, message_file(tmp_path, text)).code == 0
    assert inbox.only.recipients == ["b@example.net", "d@example.net", "e@example.net"]
    assert inbox.only.content == (
        b"From: a@example.com\r\nTo: b@example.net\r\n\r\nBcc: stays in the body\r\n"
    )


@pytest.mark.parametrize(
    ("options", "sender", "recipients"),
    [
        (["-f", "x@example.com"], "x@example.com", ["b@example.net", "c@example.net"]),
        (["-t", "Y <y@example.net>"], "a@example.com", ["y@example.net"]),
        (["--bcc", "z@example.net"], "a@example.com", ["z@example.net"]),
        (["--reverse-path", ""], "", ["b@example.net", "c@example.net"]),
        (["--reverse-path", "<>"], "", ["b@example.net", "c@example.net"]),
        (
            ["--reverse-path", "bounce@example.com"],
            "bounce@example.com",
            ["b@example.net", "c@example.net"],
        ),
    ],
)
def test_the_command_line_goes_before_the_header(
    run: Runner,
    inbox: Inbox,
    tmp_path: Path,
    options: list[str],
    sender: str,
    recipients: list[str],
) -> None:
    run("send", "-s", inbox.url, message_file(tmp_path), options)
    assert (inbox.only.sender, inbox.only.recipients) == (sender, recipients)
    assert b"To: b@example.net, c@example.net\r\n" in inbox.only.content


def test_standard_input_is_sent(
    run: Runner, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = b"Subject: hi\r\n\r\n\xff\xfe\r\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(octets)))
    ran = run("send", "-s", inbox.url, PEOPLE, "-")
    assert ran.code == 0
    assert inbox.only.content == octets
    assert ran.out.startswith("standard input: sent, N1\n")


def test_a_message_is_built_from_options(
    run: Runner, inbox: Inbox, tmp_path: Path
) -> None:
    picture = tmp_path / "dot.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    html = tmp_path / "page.html"
    html.write_text("<b>Grüße</b>", encoding="utf-8")
    ran = run(
        *("send", "-s", inbox.url),
        *("-f", "Änn <a@example.com>", "-t", "b@example.net", "--cc", "c@example.net"),
        *("--bcc", "d@example.net", "--subject", "Grüße", "--body", "Hällo\n.dot"),
        *("--html", f"@{html}", "--attach", str(picture), "-H", "X-Tag: one two"),
    )
    assert ran.code == 0
    assert inbox.only.recipients == ["b@example.net", "c@example.net", "d@example.net"]
    message = email.message_from_bytes(inbox.only.content, policy=email.policy.default)
    assert message["From"] == "Änn <a@example.com>"
    assert message["Subject"] == "Grüße"
    assert message["X-Tag"] == "one two"
    assert message["Bcc"] is None
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.com>")
    text = message.get_body(("plain",))
    assert text is not None
    assert text.get_content().split() == ["Hällo", ".dot"]
    page = message.get_body(("html",))
    assert page is not None
    assert page.get_content().strip() == "<b>Grüße</b>"
    [attachment] = message.iter_attachments()
    assert attachment.get_filename() == "dot.png"
    assert attachment.get_content_type() == "image/png"
    assert attachment.get_content() == picture.read_bytes()


def test_utf8_addresses(run: Runner, inbox: Inbox) -> None:
    ran = run(
        *("send", "-s", inbox.url, "-f", "grå@example.com", "-t", "b@例え.jp"),
        *("--body", "x"),
    )
    assert ran.code == 0
    assert inbox.only.sender == "grå@example.com"
    assert inbox.only.envelope.options.smtputf8


def test_options_of_mail_and_rcpt(run: Runner, serve: Starter) -> None:
    inbox = serve(dsn=True)
    ran = run(
        *("send", "-s", inbox.url, PEOPLE, "--body", "x"),
        *("--body-type", "8BITMIME", "--size", "64k", "--smtputf8"),
        *("--notify", "failure", "--notify", "delay", "--orcpt", "o@example.net"),
        *("--ret", "hdrs", "--envid", "e+1"),
    )
    assert ran.code == 0
    options = inbox.only.envelope.options
    assert options.body is smtpx.BodyType.EIGHTBITMIME
    assert options.size == 65_536
    assert options.smtputf8
    assert options.return_content is smtpx.ReturnContent.HDRS
    assert options.envelope_id == "e+1"
    [recipient] = inbox.only.envelope.recipients
    assert recipient.options.notify == (smtpx.Notify.FAILURE, smtpx.Notify.DELAY)
    assert recipient.options.original_recipient == smtpx.OriginalRecipient(
        "rfc822", "o@example.net"
    )


def test_several_files_share_a_connection(
    run: Runner, inbox: Inbox, tmp_path: Path
) -> None:
    path = message_file(tmp_path)
    ran = run("send", "-s", inbox.url, path, path, path, "-v")
    assert ran.code == 0
    assert len(inbox.messages) == 3
    assert ran.err.count("S: 220 ") == 1
    assert ran.out.count(": sent, N") == 3


# ----------------------------------------------------------------- results, exit codes


def test_a_refused_recipient_is_told_and_counts(run: Runner, inbox: Inbox) -> None:
    ran = run(
        *("send", "-s", inbox.url, PEOPLE, "-t", "nobody@example.net"),
        *("-t", "later@example.net", "--body", "x"),
    )
    assert ran.code == 67
    assert ran.out == (
        "message: sent to 1 of 3 recipients, N1\n"
        "  250 2.0.0 queued as N1\n"
        "  accepted  b@example.net       250 2.1.5 recipient OK\n"
        "  refused   nobody@example.net  550 5.1.1 no such mailbox\n"
        "  refused   later@example.net   450 4.2.1 mailbox is busy\n"
    )


def test_refused_for_now_is_another_code(run: Runner, inbox: Inbox) -> None:
    ran = run(
        *("send", "-s", inbox.url, PEOPLE, "-t", "later@example.net", "--body", "x")
    )
    assert ran.code == 75
    assert len(inbox.messages) == 1


@pytest.mark.parametrize(
    ("recipient", "code", "said"),
    [
        ("nobody", 67, "550 5.1.1 no such mailbox"),
        ("later", 75, "450 4.2.1 mailbox is busy"),
        ("spam", 69, "550 5.7.1 looks like spam"),
        ("vanish", 75, "421 4.3.2"),
    ],
)
def test_refusals(
    run: Runner, inbox: Inbox, recipient: str, code: int, said: str
) -> None:
    ran = run(
        *("send", "-s", inbox.url, "-f", "a@example.com"),
        *("-t", f"{recipient}@example.net", "--body", "x"),
    )
    assert ran.code == code
    assert ran.err.startswith("smtpx: message: not sent")
    assert said in ran.out + ran.err


def test_require_all_sends_nothing(run: Runner, inbox: Inbox) -> None:
    ran = run(
        *("send", "-s", inbox.url, PEOPLE, "-t", "nobody@example.net"),
        *("--body", "x", "--require-all"),
    )
    assert ran.code == 67
    assert inbox.messages == []


def test_one_message_that_fails_does_not_stop_the_others(
    run: Runner, inbox: Inbox, tmp_path: Path
) -> None:
    good = message_file(tmp_path)
    bad = tmp_path / "bad.eml"
    bad.write_bytes(b"From: a@example.com\nTo: spam@example.net\n\nx\n")
    ran = run("send", "-s", inbox.url, good, str(bad), good)
    assert ran.code == 69
    assert len(inbox.messages) == 2
    assert "bad.eml: not sent" in ran.err


def test_too_large_is_found_before_anything_is_sent(
    run: Runner, serve: Starter
) -> None:
    inbox = serve(limits=smtpx.Limits(max_message_octets=1_000))
    ran = run("send", "-s", inbox.url, PEOPLE, "--body", "x" * 2_000)
    assert ran.code == 65
    assert "the server takes 1000" in ran.err
    assert inbox.messages == []


def test_an_option_that_the_server_does_not_offer(run: Runner, inbox: Inbox) -> None:
    ran = run("send", "-s", inbox.url, PEOPLE, "--body", "x", "--envid", "e")
    assert ran.code == 69
    assert "does not offer DSN" in ran.err


def test_quiet_says_nothing_but_errors(run: Runner, inbox: Inbox) -> None:
    ran = run("send", "-q", "-s", inbox.url, PEOPLE, "--body", "x")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    ran = run(
        "send", "-q", "-s", inbox.url, PEOPLE[:3], "spam@example.net", "--body", "x"
    )
    assert ran.code == 69
    assert ran.out == ""
    assert "looks like spam" in ran.err


def test_lmtp_has_a_result_for_each_recipient(run: Runner, serve: Starter) -> None:
    inbox = serve("lmtp", lmtp=True)
    ran = run(
        *("send", "-s", inbox.url, PEOPLE, "-t", "nobody@example.net", "--body", "x")
    )
    assert ran.code == 67
    assert ran.out == (
        "message: sent to 1 of 2 recipients\n"
        "  accepted  b@example.net       250 2.0.0 queued as N1\n"
        "  refused   nobody@example.net  550 5.1.1 no such mailbox\n"
    )


def test_nothing_listens(run: Runner) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ran = run("send", "-s", f"127.0.0.1:{port}", PEOPLE, "--body", "x")
    assert ran.code == 75
    assert ran.err == (
        f"smtpx: no connection to 127.0.0.1:{port}: Connection refused; nothing "
        "listens there: check host and port\n"
    )


# ------------------------------------------------------------------- TLS and passwords


def test_starttls_and_a_password(
    run: Runner,
    serve: Starter,
    tls_context: ssl.SSLContext,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inbox = serve("smtp+starttls", tls=tls_context, require_auth=True)
    monkeypatch.setenv("SMTPX_PASSWORD", "sesame")
    trust = ("--ca-file", str(certificates / "ca.pem"))
    ran = run(
        "send", "-s", inbox.url, trust, "-u", "alice", PEOPLE, "--body", "x", "-v"
    )
    assert ran.code == 0
    assert inbox.only.user == "alice"
    assert "C: STARTTLS" in ran.err
    assert "C: AUTH PLAIN ***" in ran.err
    assert "sesame" not in ran.out + ran.err
    assert "AGFsaWNlAHNlc2FtZQ" not in ran.out + ran.err


def test_a_certificate_that_nobody_vouches_for(
    run: Runner, serve: Starter, tls_context: ssl.SSLContext
) -> None:
    inbox = serve("smtps", tls=tls_context, implicit_tls=True)
    ran = run("send", "-s", inbox.url, PEOPLE, "--body", "x")
    assert ran.code == 76
    assert "name its authority with --ca-file" in ran.err
    assert run("send", "-s", inbox.url, PEOPLE, "--body", "x", "--insecure").code == 0


def test_tls_is_required_and_not_offered(run: Runner, inbox: Inbox) -> None:
    ran = run("send", "-s", inbox.url, "--tls", "required", PEOPLE, "--body", "x")
    assert ran.code == 76
    assert inbox.messages == []


def test_a_wrong_password(
    run: Runner, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTPX_PASSWORD", "guess")
    ran = run("send", "-s", inbox.url, "-u", "alice", PEOPLE, "--body", "x")
    assert ran.code == 77
    assert "535 5.7.8" in ran.err
    assert "guess" not in ran.err


def test_a_password_from_a_file(run: Runner, inbox: Inbox, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"sesame\r\nsecond line\n")
    who = ("-u", "alice", "--password-file", str(path))
    assert run("send", "-s", inbox.url, who, PEOPLE, "--body", "x").code == 0
    assert inbox.only.user == "alice"


def test_a_password_is_asked_for_once(
    run: Runner, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def prompt(text: str, **how: object) -> str:
        asked.append((text, how))
        return "sesame"

    monkeypatch.setattr(auth_options, "can_ask", lambda: True)
    monkeypatch.setattr("click.prompt", prompt)
    url = inbox.url.replace("//", "//alice@")
    assert run("send", "-s", url, message_file(tmp_path)).code == 0
    address = inbox.url.partition("//")[2]
    assert asked == [
        (f"Password of alice at {address}", {"hide_input": True, "err": True})
    ]
    assert inbox.only.user == "alice"


def test_without_anybody_to_ask_it_says_what_to_do(run: Runner, inbox: Inbox) -> None:
    ran = run("send", "-s", inbox.url, "-u", "alice", PEOPLE, "--body", "x")
    assert ran.code == 64
    assert ran.err == (
        "smtpx: there is no password for alice: set SMTPX_PASSWORD, or use "
        "--password-file\n"
    )


# --------------------------------------------------------------- wrong use, and output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to send"),
        (["--body", "x"], "give --from and --to"),
        ([*PEOPLE[:2], "--body", "x"], "give --from and --to"),
        (["x.eml", "--subject", "x"], "a FILE is sent as it is"),
        (["-", "-"], "standard input can be sent once"),
        ([*PEOPLE, "--body", "-", "--html", "-"], "cannot both be standard input"),
        (["--from", "a b", *PEOPLE[2:], "--body", "x"], "--from 'a b' is no address"),
        ([*PEOPLE, "--cc", "x@", "--body", "x"], "--cc 'x@' is no address"),
        ([*PEOPLE, "--to", "nope", "--body", "x"], "--to 'nope' is no address"),
        ([*PEOPLE, "-H", "no colon", "--body", "x"], "write 'Name: value'"),
        ([*PEOPLE, "-H", "Ä: x", "--body", "x"], "'Ä' is no name of a header field"),
        ([*PEOPLE, "--subject", "a\nBcc: v@x.test"], "header field Subject"),
        ([*PEOPLE, "-H", "X: a\r\nY: b"], "header field X"),
        ([*PEOPLE, "--body", "x", "--size", "many"], "'many' is no size"),
        ([*PEOPLE, "--body", "x", "--size", "0"], "'0' is no size"),
        ([*PEOPLE, "--body", "x", "-s", "ftp://x"], "--server"),
        ([*PEOPLE, "--body", "x", "--tls", "maybe"], "--tls"),
        ([*PEOPLE, "--body", "x", "--client-key", __file__], "needs --client-cert"),
        (
            [*PEOPLE, "--body", "x", "--insecure", "--server-name", "x"],
            "--insecure checks nothing",
        ),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_wrong_use_is_one_line(run: Runner, arguments: list[str], said: str) -> None:
    ran = run("send", arguments)
    assert ran.code == 64
    assert ran.out == ""
    assert said in ran.err
    assert ran.err.startswith("smtpx: ")
    assert ran.err.count("\n") == 1
    assert "`smtpx send --help`" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no-such.eml"], 66, "no-such.eml: No such file or directory"),
        ([*PEOPLE, "--body", "@no-such.txt"], 66, "no-such.txt: No such file"),
        (["{empty}"], 65, "there is no message in it"),
        (["{headless}"], 65, "has no From; name sender and recipients with --from"),
        (["{bad}"], 65, "; name sender and recipients with --from"),
        (["{worse}"], 65, "local part with no domain; name sender"),
        ([*PEOPLE, "--body", "x", "--reverse-path", "a b@c"], 65, "not sent"),
        ([*PEOPLE, "--body", "x", "--hello-name", "a\r\nMAIL"], 65, "control octet"),
        ([*PEOPLE, "--body", "x", "--envid", "ä"], 69, "DSN"),
        ([*PEOPLE, "--body", "x", "--ca-file", "{empty}"], 66, "is no PEM file"),
        ([*PEOPLE, "--body", "sch\udcc3"], 65, "LC_ALL=C.UTF-8"),
        ([*PEOPLE, "--attach", "no-such"], 66, "'no-such' does not exist"),
    ],
)
def test_wrong_input_is_one_line(
    run: Runner,
    inbox: Inbox,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    names = {}
    for name, octets in [
        ("empty", b""),
        ("headless", b"just text\n"),
        ("bad", b"From: a@b.c\nTo: x@\n\nhi\n"),
        ("worse", b"From: a@b.c\nTo: =?x\n\nhi\n"),
    ]:
        names[name] = tmp_path / name
        names[name].write_bytes(octets)
    words = [word.format(**names) for word in arguments]
    ran = run("send", "-s", inbox.url, words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.startswith("smtpx: ")
    assert ran.err.count("\n") == 1
    assert inbox.messages == []


def test_a_large_message_has_a_progress_bar(
    run: Runner, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With FORCE_COLOR rich takes anything for a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    small = Path(message_file(tmp_path)).name
    large = Path("large.eml")
    large.write_bytes(
        b"From: a@example.com\nTo: b@example.net\n\n" + b"x" * 70 + b"\n" * 2_000_000
    )
    ran = run("send", "-s", inbox.url, small)
    assert (ran.code, ran.err) == (0, "")
    ran = run("send", "-s", inbox.url, str(large), small)
    assert ran.code == 0
    assert "2.0/2.0 MB" in ran.err
    assert ran.out.count("sent, N") == 2
    monkeypatch.setenv("FORCE_COLOR", "")
    assert run("send", "-s", inbox.url, str(large)).err == ""


def test_what_a_server_says_cannot_control_the_terminal(
    run: Runner, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = smtpx.Reply(250, None, "ok \x9b2J \u202e\nqueued as a\u200bb")
    results = (smtpx.RecipientResult("b\x1b[2J@x", said, True),)
    monkeypatch.setattr(
        smtpx.Client, "send", lambda *_, **__: smtpx.SendResult(said, results)
    )
    ran = run("send", "-s", inbox.url, PEOPLE, "--body", "x")
    assert ran.code == 0
    assert all(line.isprintable() for line in ran.out.splitlines())
    assert "\\u202e" in ran.out
