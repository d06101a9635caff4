"""How messages come in: SMTP and LMTP, AUTH, limits, and what was recorded."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.inbox.mailbox import InboxCap
from smtpx.inbox.receiving import Reception
from smtpx.inbox.service import DevInbox, InboxOptions
from smtpx.testing.faults import Refusal
from tests.inbox.conftest import MAIL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.inbox.conftest import Running


def lines(octets: int) -> bytes:
    return b"12345678\r\n" * (octets // 10)


def test_lmtp_has_a_reply_for_each_recipient(run: Callable[..., Running]) -> None:
    fault = Refusal("data", 452, matching="full@*")
    running = run(lmtp=("127.0.0.1:0",), faults=(fault,))
    _, url = running.inbox.lmtp_urls
    with smtpx.LMTPClient(url) as client:
        result = client.send(
            MAIL % (b"hi", b"hello"),
            sender="",
            recipients=["bob@x.test", "full@x.test", "bob@x.test"],
        )
    assert [one.is_accepted for one in result.recipients] == [True, False, True]
    [row] = running.rows()
    assert (row["recipients"], row["sender"]) == (["bob@x.test", "bob@x.test"], "")
    found = running.get(f"/message/{row['id']}")
    assert found["protocol"] == "LMTP"
    lines = running.get(f"/message/{row['id']}/dialogue")["lines"]
    queued = [line for line in lines if line["text"].endswith(row["id"])]
    assert len(queued) == 2


def test_one_port_takes_smtp_and_lmtp(run: Callable[..., Running]) -> None:
    running = run(faults=(Refusal("data", 452, matching="full@*"),))
    [smtp], [lmtp] = running.inbox.smtp_urls, running.inbox.lmtp_urls
    assert lmtp == smtp.replace("smtp://", "lmtp://")
    with smtpx.Client(smtp) as client:
        sent = client.send(
            MAIL % (b"hi", b"by SMTP"),
            sender="",
            recipients=["bob@x.test", "eve@x.test"],
        )
        assert sent.reply is not None
    with smtpx.LMTPClient(lmtp) as last_hop:
        result = last_hop.send(
            MAIL % (b"hi", b"by LMTP"),
            sender="",
            recipients=["bob@x.test", "full@x.test", "eve@x.test"],
        )
    assert [one.is_accepted for one in result.recipients] == [True, False, True]
    found = [running.get(f"/message/{row['id']}") for row in running.rows()]
    assert [message["protocol"] for message in found] == ["LMTP", "ESMTP"]
    assert [len(message["recipients"]) for message in found] == [2, 2]


def test_lmtp_on_a_unix_socket_too(run: Callable[..., Running], tmp_path: Path) -> None:
    running = run(smtp=(f"unix:{tmp_path}/inbox.sock",))
    [url] = running.inbox.lmtp_urls
    assert url.startswith("lmtp+unix://")
    with smtpx.LMTPClient(url) as client:
        client.send(b"\r\n", sender="", recipients=["a@x.test"])
    assert len(running.rows()) == 1


def test_port_25_is_for_smtp_alone() -> None:
    # A server would refuse to take LMTP there. Nothing is bound before the start.
    for address in ("127.0.0.1:25", "[::1]:25", ":25"):
        DevInbox(InboxOptions(smtp=(address,), web=None))
    with pytest.raises(ValueError, match="not be used on port 25"):
        DevInbox(InboxOptions(lmtp=("127.0.0.1:25",), web=None))


def test_all_refused_in_lmtp_keeps_nothing(run: Callable[..., Running]) -> None:
    running = run(lmtp=("127.0.0.1:0",), faults=(Refusal("data", 452),))
    _, url = running.inbox.lmtp_urls
    with smtpx.LMTPClient(url) as client, pytest.raises(smtpx.SendError):
        client.send(b"\r\n", sender="", recipients=["a@x.test", "b@x.test"])
    assert running.rows() == []


@pytest.mark.parametrize(
    ("mechanism", "user"),
    [
        ("PLAIN", "ann"),
        ("LOGIN", "ann"),
        ("OAUTHBEARER", "ann"),
        ("XOAUTH2", "ann"),
    ],
)
def test_any_login_will_do(
    run: Callable[..., Running], mechanism: str, user: str
) -> None:
    running = run(require_auth=True)
    is_token = "OAUTH" in mechanism
    auth = smtpx.Auth(
        "ann",
        password="" if is_token else "whatever",
        token="whatever" if is_token else None,
        mechanisms=(mechanism,),
    )
    [url] = running.inbox.smtp_urls
    smtpx.send(b"\r\n", to=url, sender="a@x.test", recipients=["b@x.test"], auth=auth)
    assert running.rows()[0]["user"] == user
    with pytest.raises(smtpx.SendError, match="530"):
        running.send()


def test_acting_as_somebody_else(run: Callable[..., Running]) -> None:
    running = run(auth=True)
    [url] = running.inbox.smtp_urls
    auth = smtpx.Auth("ann", "x", authorize_as="boss", mechanisms=("PLAIN",))
    smtpx.send(b"\r\n", to=url, sender="a@x.test", recipients=["b@x.test"], auth=auth)
    assert running.rows()[0]["user"] == "ann"


def test_anonymous(run: Callable[..., Running]) -> None:
    running = run(auth=True)
    [url] = running.inbox.smtp_urls
    auth = smtpx.Auth("me", mechanisms=("ANONYMOUS",))
    smtpx.send(b"\r\n", to=url, sender="a@x.test", recipients=["b@x.test"], auth=auth)
    assert len(running.rows()) == 1


def test_auth_is_not_offered_unless_asked_for(run: Callable[..., Running]) -> None:
    running = run()
    with pytest.raises(smtpx.SendError):
        running.send(auth=("ann", "x"))
    assert running.get("/info")["auth"] is False


def test_tls_facts_are_told(run: Callable[..., Running]) -> None:
    running = run(tls=True)
    running.send()
    found = running.get(f"/message/{running.only}")
    assert found["tls"]["version"].startswith("TLSv1")
    assert found["protocol"] == "ESMTPS"
    assert running.get("/info")["tls"] is True


def test_a_message_of_the_size_of_the_inbox(run: Callable[..., Running]) -> None:
    running = run(cap=InboxCap(octets=20_000))
    running.send(lines(10_000))
    running.send(lines(10_000))
    assert running.get("/info")["messages"] == 1
    assert running.get("/info")["octets"] <= 20_000
    with pytest.raises(smtpx.SendError, match="552"):
        running.send(lines(20_000))
    with pytest.raises(smtpx.MessageTooLarge):
        running.send(lines(20_010))
    assert running.get("/info")["messages"] == 1


def test_what_is_coming_in_is_bounded() -> None:
    inbox = DevInbox(InboxOptions(cap=InboxCap(octets=100)))
    reception = Reception(
        inbox.mailbox,
        inbox._recorder,
        inbox.faults,
        on_fault=lambda: None,
        on_trouble=lambda _: None,
    )
    reception.take_room(100)
    with pytest.raises(smtpx.Refuse, match="452"):
        reception.take_room(1)
    reception.give_room(1)
    reception.take_room(1)


def test_room_is_given_back(run: Callable[..., Running]) -> None:
    running = run(cap=InboxCap(octets=20_000))
    [url] = running.inbox.smtp_urls
    host, _, port = url.removeprefix("smtp://").partition(":")
    # Cut off in the middle, again and again.
    for _ in range(5):
        with socket.create_connection((host, int(port))) as peer:
            file = peer.makefile("rb")
            peer.sendall(
                b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
            )
            while not file.readline().startswith(b"354"):
                pass
            peer.sendall(b"x" * 9_000)
    running.send(lines(10_000))
    assert len(running.rows()) == 1


def test_bare_newlines_are_taken_and_complained_of(run: Callable[..., Running]) -> None:
    running = run()
    [url] = running.inbox.smtp_urls
    host, _, port = url.removeprefix("smtp://").partition(":")
    with socket.create_connection((host, int(port))) as peer:
        peer.sendall(
            b"EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n"
            b"Subject: bare\r\n\r\na\nb\r\n.\r\nQUIT\r\n"
        )
        while peer.recv(65_536):
            pass
    assert running.subjects() == ["bare"]
    complaints = running.get(f"/message/{running.only}/complaints")["complaints"]
    assert any("bare LF" in one["text"] for one in complaints)
    assert running.rows()[0]["problems"] > 0


def test_parameters_are_kept_as_they_were_said(run: Callable[..., Running]) -> None:
    running = run()
    [url] = running.inbox.smtp_urls
    smtpx.send(
        b"Subject: \xc3\xbc\r\n\r\n",
        to=url,
        sender="a@x.test",
        recipients=["b@x.test", "c@x.test"],
        options=smtpx.MailOptions(smtputf8=True, envelope_id="QQ"),
        rcpt_options={"b@x.test": smtpx.RcptOptions(notify=(smtpx.Notify.NEVER,))},
    )
    envelope = running.get(f"/message/{running.only}")["envelope"]
    assert {"SMTPUTF8", "ENVID=QQ"} <= set(envelope["parameters"].split())
    assert [one["parameters"] for one in envelope["recipients"]] == ["NOTIFY=NEVER", ""]


def test_a_store_that_fails_defers_mail(
    run: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = run()

    async def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(running.inbox.mailbox.store, "keep", fail)
    with pytest.raises(smtpx.SendError, match="452"):
        running.send()
    assert running.rows() == []
    assert "disk full" in caplog.text


def test_many_messages_over_one_connection(run: Callable[..., Running]) -> None:
    running = run()
    [url] = running.inbox.smtp_urls
    with smtpx.Client(url) as client:
        outgoing = [
            smtpx.Outgoing(MAIL % (b"%d" % n, b"x"), sender="", recipients=["b@x.test"])
            for n in range(50)
        ]
        outcomes = list(client.send_many(outgoing))
        assert [one.error for one in outcomes] == [None] * 50
    found = running.get("/messages", limit=100)["messages"]
    assert [row["subject"] for row in found] == [str(n) for n in range(50)][::-1]
    for row in (found[0], found[25], found[49]):
        lines = running.get(f"/message/{row['id']}/dialogue")["lines"]
        texts = [line["text"] for line in lines]
        assert f"250 2.0.0 queued as {row['id']}" in texts
        assert texts[0].startswith("220 ")


# -------------------------------------------------------------------------- service


async def test_an_inbox_without_a_page(tmp_path: Path) -> None:
    options = InboxOptions(smtp=(f"unix:{tmp_path}/smtp",), web=None)
    async with DevInbox(options) as inbox:
        assert inbox.smtp_urls == (f"smtp+unix://{tmp_path}/smtp",)
        assert inbox.web_urls == ()
        await smtpx.asend(
            b"\r\n", to=inbox.smtp_urls[0], sender="", recipients=["b@x.test"]
        )
        assert repr(inbox).endswith("1 messages>")
        [message] = inbox.mailbox.newest_first()
        assert (message.peer_host, message.recipients) == (None, ("b@x.test",))
        with pytest.raises(RuntimeError, match="tls=True"):
            _ = inbox.certificates


async def test_a_page_that_cannot_be_shown_leaves_nothing_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        inbox = DevInbox(InboxOptions(smtp=("127.0.0.1:0",), web=f"127.0.0.1:{port}"))
        with pytest.raises(OSError, match="in use"):
            await inbox.__aenter__()
        for address in inbox.server.addresses:
            host, _, number = address.rpartition(":")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(host, int(number))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"smtp": ()}, "give smtp or lmtp"),
        ({"web": "unix:/x"}, "no browser"),
        ({"web": "x"}, "no address"),
        ({"lmtp": ("x",)}, "no address"),
        ({"release_to": ("imap://x",)}, "starts with none"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        InboxOptions(**options)  # type: ignore[arg-type]


def test_an_inbox_in_a_thread_of_its_own_options() -> None:
    seen: list[str] = []
    server = smtpx.ServerOptions(
        hostname="x.test", wire_log=lambda _, line: seen.append(line)
    )
    options = InboxOptions(smtp=("127.0.0.1:0",), web=None, server=server)
    with DevInbox(options).run_in_thread() as inbox, smtpx.Client(inbox.smtp_urls[0]):
        pass
    assert "C: QUIT" in seen
