"""mbox, webhook, another server."""

from __future__ import annotations

import contextlib
import http.server
import mailbox
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import smtpx
from smtpx.app.application import App, AppOptions
from smtpx.app.places import MboxSink, WebhookSink
from smtpx.errors import DataRefused, RecipientsRefused, Refuse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MESSAGE = b"Subject: hi\r\n\r\nFrom here\r\n>From there\r\nx\r\n"


async def content(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks or (MESSAGE,):
        yield block


async def test_an_mbox_is_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    sink = MboxSink(path)
    assert await sink.store(b"X: y\r\n", content()) == "0"
    assert (
        await sink.store(b"", content(b"Subject: 2\r\n\r\n", b"Fro", b"m x\r\n")) != "0"
    )
    await sink.close()
    assert path.stat().st_mode & 0o777 == 0o600
    with contextlib.closing(mailbox.mbox(path)) as box:
        first, second = box
        assert (first["Subject"], second["Subject"]) == ("hi", "2")
        assert first.get_payload() == ">From here\n>>From there\nx\n"
        assert second.get_payload() == ">From x\n"


@pytest.mark.parametrize(
    ("head", "sender"),
    [
        (b"Return-Path: <ann@example.com>\r\n", "ann@example.com"),
        (b"Return-Path: <>\r\n", "MAILER-DAEMON"),
        (b'Return-Path: <"a b"@example.com>\r\n', "MAILER-DAEMON"),
        ("Return-Path: <\u00e4@example.com>\r\n".encode(), "MAILER-DAEMON"),
        (b"X-Return-Path: <ann@example.com>\r\n", "MAILER-DAEMON"),
        (b"X: y\r\nReturn-Path: <ann@example.com>\r\n", "MAILER-DAEMON"),
    ],
)
async def test_an_mbox_names_the_sender(
    tmp_path: Path, head: bytes, sender: str
) -> None:
    """RFC 4155 wants the address of the envelope, if readers can take it for one."""
    sink = MboxSink(tmp_path / "mbox")
    await sink.store(head, content())
    await sink.store(b"", content(head, MESSAGE))
    await sink.close()
    with contextlib.closing(mailbox.mbox(sink.path)) as box:
        names = [one.get_from().partition(" ")[0] for one in box]
    assert names == [sender] * 2


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n", b"\r\n" * 5])
async def test_an_mbox_keeps_empty_lines_at_the_end(tmp_path: Path, end: bytes) -> None:
    sink = MboxSink(tmp_path / "mbox")
    message = b"Subject: x\r\n\r\nhi" + end
    for _ in range(2):
        await sink.store(b"", content(message))
    await sink.close()
    # What did not end with a line end has got one.
    expected = message.replace(b"\r\n", b"\n") + b"\n" * (not end)
    with contextlib.closing(mailbox.mbox(sink.path)) as box:
        assert [box.get_bytes(key) for key in box.iterkeys()] == [expected] * 2


async def test_what_was_not_written_whole_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mbox"
    sink = MboxSink(path)
    await sink.store(b"", content())
    before = path.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space"):
        await sink.store(b"", content())
    await sink.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("octets", [1, 3_000, 7_000, 200_000])
async def test_what_a_full_disk_cut_off_is_taken_back(
    octets: int, tmp_path: Path
) -> None:
    """Also a message that is smaller than a buffer of the file would be."""
    path, limit = tmp_path / "mbox", 1024 * 1024
    sink = MboxSink(path)
    await sink.store(b"", content(b"A: b\r\n\r\n" + b"x" * (limit - 2_000)))
    before = path.stat().st_size
    await sink.store(b"", content(b"A: b\r\n\r\n" + b"y" * (limit - before - 60)))
    full = path.read_bytes()
    assert len(full) < limit
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            await sink.store(b"", content(b"A: b\r\n\r\n" + b"z" * octets))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert path.read_bytes() == full
    await sink.store(b"", content())
    await sink.close()
    with contextlib.closing(mailbox.mbox(path)) as box:
        assert [message["A"] for message in box] == ["b", "b", None]


@contextmanager
def web(
    status: int, signatures: list[str] | None = None
) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    posted: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name that http.server calls
            size = int(self.headers["Content-Length"])
            posted.append((self.headers["Content-Type"], self.rfile.read(size)))
            if signatures is not None:
                signatures.append(self.headers["X-Signature"])
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, 250),
        (204, 250),
        (302, 554),
        (400, 554),
        (401, 554),
        (429, 451),
        (500, 451),
        (503, 451),
    ],
)
async def test_what_a_webhook_says(status: int, code: int) -> None:
    with web(status) as (url, posted):
        sink = WebhookSink(url)
        if code == 250:
            name = await sink.store(b"X: y\r\n", content())
            assert name == f"HTTP-{status}"
        else:
            with pytest.raises(Refuse) as caught:
                await sink.store(b"X: y\r\n", content())
            assert caught.value.code == code
        await sink.close()
    assert posted == [("message/rfc822", b"X: y\r\n" + MESSAGE)]


async def test_a_webhook_is_signed() -> None:
    signatures: list[str] = []
    with web(200, signatures) as (url, posted):
        sink = WebhookSink(
            url,
            headers={"Content-Type": "application/json"},
            secret=b"secret",
            clock=lambda: 1772704800.9,
        )
        await sink.store(b"", content(b"{}"))
        await sink.close()
        assert posted == [("application/json", b"{}")]
        # openssl dgst -sha256 -hmac secret, of 1772704800.{}
        assert signatures == [
            "t=1772704800,v1="
            "fcba31402b404535c490dd61a465931b41ba2a3cd7aa38bfdb68ff0fcbc487fb"
        ]


async def test_no_webhook_there() -> None:
    with web(200) as (url, _):
        pass
    sink = WebhookSink(url)
    with pytest.raises(Refuse) as caught:
        await sink.store(b"", content())
    await sink.close()
    assert caught.value.code == 451
    with pytest.raises(ValueError, match="https"):
        WebhookSink("file:///etc/passwd")


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (None, 250),
        (Refuse(550, "5.7.1", "spam"), 550),
        (Refuse(451, "4.7.1", "later"), 451),
        # A 421 of its own would end the session of our client.
        (Refuse(452, "4.2.2", "full"), 451),
    ],
)
async def test_another_server(refusal: Refuse | None, code: int) -> None:
    arrived = []
    behind, front = App(), App()

    @behind.on_message("b@x.y")
    async def take(mail: smtpx.Mail) -> smtpx.Reply:
        arrived.append((mail.octets, str(mail.reverse_path)))
        if refusal is not None:
            raise refusal
        return smtpx.Reply(250, "2.0.0", "queued as 1")

    async with behind.serving() as target:
        pool = smtpx.ClientPool(f"smtp+plain://{target.addresses[0]}")
        front.forward("@x.y", pool)
        front.on_shutdown(pool.close)
        async with front.serving() as server:
            to = f"smtp+plain://{server.addresses[0]}"
            sending = smtpx.asend(MESSAGE, to=to, sender="a@b.c", recipients=["b@x.y"])
            if code == 250:
                result = await sending
                assert result.reply is not None
                assert "queued as 1" in result.reply.lines[0]
            else:
                with pytest.raises(DataRefused) as refused:
                    await sending
                assert refused.value.reply is not None
                assert refused.value.reply.code == code
            with pytest.raises(DataRefused) as caught:
                await smtpx.asend(MESSAGE, to=to, sender="a@b.c", recipients=["c@x.y"])
            assert caught.value.reply is not None
            assert caught.value.reply.code == 550
    assert arrived == [(MESSAGE, "a@b.c")]


class Fussy(smtpx.Session):
    """Takes messages for some of their recipients: a number refuses, and how."""

    async def lmtp_data(
        self, body: smtpx.Body, statuses: smtpx.Statuses
    ) -> smtpx.Reply | None:
        await body.read()
        for recipient in statuses.recipients:
            code = recipient.mailbox.local_part
            if code.isdigit():
                statuses.set(recipient, smtpx.Reply(int(code), None, "says who"))
        return None


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["a", "b"], 250),
        (["a", "550"], 550),
        (["554", "a"], 554),
        (["a", "450"], 451),
        (["a", "550", "452", "b"], 451),
        (["550", "552"], 550),
    ],
)
@pytest.mark.parametrize("is_lmtp", [False, True])
async def test_what_an_lmtp_server_refuses_for_one_is_not_acknowledged(
    names: list[str], code: int, is_lmtp: bool
) -> None:
    front = App(server=smtpx.ServerOptions(lmtp=is_lmtp))
    options = smtpx.ServerOptions(lmtp=True)
    async with (
        smtpx.Server(Fussy, options=options) as target,
        smtpx.ClientPool(f"lmtp://{target.addresses[0]}") as pool,
    ):
        front.forward("*", pool)
        async with front.serving() as server:
            scheme = "lmtp" if is_lmtp else "smtp+plain"
            sending = smtpx.asend(
                MESSAGE,
                to=f"{scheme}://{server.addresses[0]}",
                sender="a@b.c",
                recipients=[f"{name}@x.y" for name in names],
            )
            if code == 250:
                assert not (await sending).refused
                return
            kind = RecipientsRefused if is_lmtp else DataRefused
            with pytest.raises(kind) as caught:
                await sending
    reply = caught.value.reply
    if isinstance(caught.value, RecipientsRefused):
        codes = {one.reply.code for one in caught.value.results if one.reply}
        assert codes == {code}
    else:
        assert reply is not None
        assert reply.code == code


@pytest.mark.parametrize("sender", ["a@b.c", ""])
async def test_what_is_sent_on_has_no_return_path_of_ours(sender: str) -> None:
    """RFC 5321 section 4.4: that field is for who delivers in the end."""
    arrived = []
    behind, front = App(), App(AppOptions(adds_trace=True))
    behind.on_message()(lambda mail: arrived.append(mail.octets))
    # What the client had in its message is none of our business.
    message = b"Return-Path: <c@d.e>\r\n" + MESSAGE
    async with behind.serving() as target:
        pool = smtpx.ClientPool(f"smtp+plain://{target.addresses[0]}")
        front.forward("@x.y", pool)
        async with front.serving() as server, pool:
            to = f"smtp+plain://{server.addresses[0]}"
            await smtpx.asend(message, to=to, sender=sender, recipients=["b@x.y"])
    (octets,) = arrived
    assert octets.startswith(b"Received: from ")
    assert octets.endswith(b"\r\n" + message)
    assert octets.count(b"Return-Path:") == 1


@pytest.mark.parametrize(("hops", "code"), [(100, 250), (101, 554)])
async def test_a_loop_is_cut(hops: int, code: int) -> None:
    behind, front = App(), App()
    behind.on_message()(lambda _mail: None)
    async with behind.serving() as target:
        pool = smtpx.ClientPool(f"smtp+plain://{target.addresses[0]}")
        front.forward("*", pool)
        async with front.serving() as server, pool:
            message = b"Received: x\r\n" * hops + b"\r\n"
            sending = smtpx.asend(
                message,
                to=f"smtp+plain://{server.addresses[0]}",
                sender="a@b.c",
                recipients=["b@x.y"],
            )
            if code == 250:
                await sending
            else:
                with pytest.raises(DataRefused, match="circles"):
                    await sending
