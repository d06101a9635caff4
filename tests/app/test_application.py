"""The application over real connections: routes, handlers, replies, hooks."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from smtpx.app.application import App, AppOptions
from smtpx.app.mail import Mail
from smtpx.app.places import CallbackSink, MboxSink
from smtpx.app.sinks import MaildirSink
from smtpx.errors import DataRefused, RecipientsRefused, Refuse
from tests.slow_callbacks import without_slow_callbacks
from tests.verify.records import ZoneResolver

if TYPE_CHECKING:
    from smtpx.server.listener import Server
    from smtpx.wire.envelope import SendResult

MESSAGE = b"From: ann@example.com\r\nSubject: hi\r\n\r\nHello.\r\n"


async def send(
    server: Server,
    *recipients: str,
    message: bytes = MESSAGE,
    scheme: str = "smtp+plain",
    **options: Any,  # noqa: ANN401 - what asend takes
) -> SendResult:
    return await smtpx.asend(
        message,
        to=f"{scheme}://{server.addresses[0]}",
        sender=options.pop("sender", "ann@example.com"),
        recipients=recipients,
        **options,
    )


async def test_the_first_pattern_that_matches_counts() -> None:
    app = App()
    seen = []

    @app.on_message("support+{ticket}@example.com", "help-{ticket}@example.com")
    async def support(mail: Mail) -> None:
        seen.append(("support", mail.parameters["ticket"], mail.subject))

    @app.on_message()
    def rest(mail: Mail) -> None:
        seen.append(("rest", str(mail.recipients[0].mailbox), mail.text))

    async with app.serving() as server:
        await send(server, "support+1@example.com")
        await send(server, "Help-2@example.com")
        await send(server, "x@example.org")
    assert seen == [
        ("support", "1", "hi"),
        ("support", "2", "hi"),
        ("rest", "x@example.org", "Hello.\n"),
    ]


def test_a_decorator_without_brackets() -> None:
    with pytest.raises(TypeError, match=r"write @app.on_message\(\) for all"):
        App().on_message(lambda _mail: None)  # type: ignore[arg-type]


async def test_a_recipient_of_no_pattern_is_refused() -> None:
    app = App()
    app.on_message("a@example.com")(lambda _mail: None)
    async with app.serving() as server:
        with pytest.raises(RecipientsRefused) as caught:
            await send(server, "b@example.com")
    assert caught.value.reply is not None
    assert (caught.value.reply.code, str(caught.value.reply.enhanced)) == (550, "5.1.1")


async def test_all_that_a_mail_tells() -> None:
    app = App()
    seen: list[Mail] = []

    @app.on_message("@example.com")
    async def handle(mail: Mail) -> None:
        seen.append(mail)
        assert mail.octets == MESSAGE == b"".join([one async for one in mail.blocks()])
        assert mail.size == len(MESSAGE)
        assert str(mail.reverse_path) == "ann@example.com"
        assert str(mail.peer) == "127.0.0.1"
        assert (mail.tls, mail.user, mail.date) == (None, None, None)
        assert mail.message_id is None
        assert mail.from_[0].address == "ann@example.com"
        assert mail.sender == mail.from_[0]
        assert mail.reply_to == mail.from_
        assert (mail.to, mail.cc, mail.bcc) == ((), (), ())
        assert (mail.references, mail.in_reply_to, mail.resent) == ((), (), ())
        assert (mail.attachments, mail.embedded) == ((), ())
        assert mail.html == ""
        assert mail.header.first("Subject") is not None
        assert mail.defects == ("no Date field",)
        assert [str(one.mailbox) for one in mail.recipients] == ["b@example.com"]
        assert len(mail.envelope.recipients) == 2
        assert mail.connection.protocol == "ESMTP"

    app.on_message()(lambda _mail: None)
    async with app.serving() as server:
        await send(server, "b@example.com", "c@example.org")
    assert repr(seen[0]) == f"<Mail {seen[0].connection.id} 46 octets>"


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize(
    ("outcome", "code", "text"),
    [
        (smtpx.Reply(250, "2.0.0", "queued as 7"), 250, "queued as 7"),
        (None, 250, ""),
        (Refuse(550, "5.7.1", "not you"), 550, "not you"),
        (Refuse(451, "4.7.1", "come again"), 451, "come again"),
        (smtpx.Reply(552, "5.2.2", "full"), 552, "full"),
        (RuntimeError("secret"), 451, "local error"),
        ("a str", 451, "local error"),
    ],
)
async def test_what_handlers_say(
    is_plain: bool, outcome: object, code: int, text: str
) -> None:
    app = App()

    def plain(_mail: Mail) -> Any:  # noqa: ANN401 - also what it must not
        assert threading.current_thread() is not threading.main_thread()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def coroutine(_mail: Mail) -> Any:  # noqa: ANN401 - likewise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    app.on_message()(plain if is_plain else coroutine)
    async with app.serving() as server:
        if code == 250:
            result = await send(server, "b@example.com")
            assert result.reply is not None
            assert text in " ".join(result.reply.lines)
            return
        with pytest.raises(DataRefused) as caught:
            await send(server, "b@example.com")
    assert caught.value.reply is not None
    assert caught.value.reply.code == code
    said = " ".join(caught.value.reply.lines)
    assert text in said
    assert "secret" not in said


async def test_one_refusal_refuses_all_in_smtp() -> None:
    app = App()
    seen = []

    @app.on_message("a@example.com")
    async def first(_mail: Mail) -> smtpx.Reply:
        seen.append("first")
        return smtpx.Reply(550, "5.7.1", "no")

    @app.on_message("b@example.com")
    async def second(_mail: Mail) -> None:
        seen.append("second")

    async with app.serving() as server:
        with pytest.raises(DataRefused):
            await send(server, "a@example.com", "b@example.com")
    assert seen == ["first"]


async def test_each_recipient_has_its_reply_in_lmtp() -> None:
    app = App(server=smtpx.ServerOptions(lmtp=True))

    @app.on_message("ok@example.com", "also@example.com")
    async def fine(_mail: Mail) -> smtpx.Reply:
        return smtpx.Reply(250, "2.0.0", "stored")

    @app.on_message("no@example.com")
    async def refuses(_mail: Mail) -> None:
        raise Refuse(550, "5.2.1", "closed")

    @app.on_message("bug@example.com")
    async def fails(_mail: Mail) -> None:
        raise RuntimeError("secret")

    app.on_message("none@example.com")(lambda _mail: None)
    recipients = [
        f"{one}@example.com" for one in ("no", "ok", "bug", "also", "none", "ok")
    ]
    async with app.serving() as server:
        client = smtpx.AsyncLMTPClient(f"lmtp://{server.addresses[0]}")
        async with client:
            result = await client.send(MESSAGE, sender="a@b.c", recipients=recipients)
    codes = [one.reply.code for one in result.recipients if one.reply is not None]
    assert codes == [550, 250, 451, 250, 250, 250]


async def test_recipients_with_the_same_parameters_share_a_call() -> None:
    app = App()
    seen = []

    @app.on_message("{user}@{team}.example.com")
    async def handle(mail: Mail) -> None:
        seen.append((mail.parameters, len(mail.recipients)))

    app.on_message("@all.org")(lambda mail: seen.append(({}, len(mail.recipients))))
    async with app.serving() as server:
        await send(
            server, "a@x.example.com", "b@all.org", "A@x.example.com", "c@all.org"
        )
    assert seen == [
        ({"user": "a", "team": "x"}, 1),
        ({}, 2),
        ({"user": "A", "team": "x"}, 1),
    ]


async def test_hooks_in_order() -> None:
    app = App()
    seen: list[str] = []

    @app.on_startup
    async def first() -> None:
        seen.append("startup")

    @app.on_startup
    def second() -> None:
        seen.append("startup in a thread")

    @app.on_ready
    def ready(server: Server) -> None:
        seen.append(f"ready {len(server.addresses)}")

    @app.on_shutdown
    def last() -> None:
        seen.append("shutdown")

    @app.on_shutdown
    async def fails() -> None:
        seen.append("fails")
        raise RuntimeError("first of the shutdown")

    with pytest.raises(RuntimeError, match="first of the shutdown"):
        async with app.serving():
            seen.append("serving")
    assert seen == [
        *("startup", "startup in a thread", "ready 1", "serving", "fails", "shutdown")
    ]


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize(("password", "is_right"), [("right", True), ("wrong", False)])
async def test_authenticator(is_plain: bool, password: str, is_right: bool) -> None:
    app = App(server=smtpx.ServerOptions(require_auth=True))
    users = []

    def plain(user: str, given: str) -> bool:
        return (user, given) == ("ann", "right")

    async def coroutine(user: str, given: str) -> bool:
        return plain(user, given)

    app.authenticator(plain if is_plain else coroutine)
    app.on_message()(lambda mail: users.append(mail.user))
    async with app.serving() as server:
        sending = send(server, "b@example.com", auth=("ann", password))
        if is_right:
            await sending
        else:
            with pytest.raises(smtpx.AuthenticationFailed):
                await sending
    assert users == (["ann"] if is_right else [])


async def test_without_an_authenticator_nobody_can_log_in() -> None:
    app = App()
    app.on_message()(lambda _mail: None)
    async with app.serving() as server:
        with pytest.raises(smtpx.NotSupported):
            await send(server, "b@example.com", auth=("ann", "x"))


@pytest.mark.parametrize(("extra", "is_in_memory"), [(0, True), (1, False)])
async def test_one_limit_decides_where_a_message_is(
    extra: int, is_in_memory: bool
) -> None:
    limit = 300_000
    app = App(AppOptions(memory_octets=limit))
    head = b"Subject: x\r\n\r\n"
    lines = b"y\r\n" * (limit // 3)
    message = head + lines[: -3 * 10]
    message += b"z" * (limit + extra - len(message) - 2) + b"\r\n"
    seen = []

    @app.on_message()
    async def handle(mail: Mail) -> None:
        seen.append(mail._arrival.spool.is_in_memory)
        assert b"".join([one async for one in mail.blocks()]) == message
        assert mail.octets == message
        assert mail.subject == "x"
        assert mail.size == limit + extra

    async with app.serving() as server:
        await send(server, "b@example.com", message=message)
    assert seen == [is_in_memory]


async def test_trace_fields_on_request() -> None:
    app = App(AppOptions(adds_trace=True))
    names: list[str] = []
    app.on_message()(lambda mail: names.extend(one.name for one in mail.header.fields))
    async with app.serving() as server:
        await send(server, "b@example.com")
    assert names == ["Return-Path", "Received", "From", "Subject"]


ZONE: dict[str, Any] = {
    "example.com": [("TXT", "v=spf1 ip4:127.0.0.1 -all"), ("A", "192.0.2.1")],
    "_dmarc.example.com": [("TXT", "v=DMARC1; p=reject")],
}


@pytest.mark.parametrize("is_plain", [False, True])
async def test_who_sent_it(is_plain: bool) -> None:
    resolver = ZoneResolver(ZONE)
    app = App(AppOptions(resolver=resolver))
    seen: list[object] = []

    def plain(mail: Mail) -> None:
        seen.append(mail.wait(mail.spf()).result)
        seen.append(mail.wait(mail.dmarc()).result)
        seen.append(mail.wait(mail.is_mailable()))

    async def coroutine(mail: Mail) -> None:
        spf, again = await asyncio.gather(mail.spf(), mail.spf())
        assert spf is again
        seen.append(spf.result)
        seen.append((await mail.dmarc()).result)
        seen.append(await mail.is_mailable())
        assert await mail.dkim() == ()
        assert (await mail.arc()).result == "none"
        assert (await mail.authentication()).is_pass
        assert not await mail.is_mailable("gone.example")

    app.on_message()(plain if is_plain else coroutine)
    async with app.serving() as server:
        await send(server, "b@example.com")
    assert seen == ["pass", "pass", True]


async def test_the_null_reverse_path_takes_no_mail() -> None:
    app = App(AppOptions(resolver=ZoneResolver({})))
    seen: list[object] = []

    @app.on_message()
    async def handle(mail: Mail) -> None:
        seen.append(mail.reverse_path)
        seen.append(await mail.is_mailable())

    async with app.serving() as server:
        await send(server, "b@example.com", sender="")
    assert seen == [None, False]


async def test_places(tmp_path: Path) -> None:
    app = App()
    taken: list[bytes] = []

    async def take(message: bytes) -> None:
        taken.append(message)

    app.store("a", MaildirSink(tmp_path / "maildir"))
    app.store("b", MboxSink(tmp_path / "mbox"))
    app.store("c", CallbackSink(take))
    async with app.serving() as server:
        result = await send(server, "a@x.y", "b@x.y", "c@x.y")
    assert result.reply is not None
    assert result.reply.lines[0].startswith("stored as ")
    assert [one.read_bytes() for one in (tmp_path / "maildir" / "new").iterdir()] == [
        MESSAGE.replace(b"\r\n", b"\n")
    ]
    assert b"Hello." in (tmp_path / "mbox").read_bytes()
    assert taken == [MESSAGE]


async def test_an_abort_reaches_no_handler() -> None:
    app = App()
    seen: list[Mail] = []
    app.on_message()(seen.append)
    async with app.serving() as server:
        host, _, port = server.addresses[0].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for line in (b"EHLO x", b"MAIL FROM:<>", b"RCPT TO:<a@b.c>", b"DATA", b"x"):
            writer.write(line + b"\r\n")
        await writer.drain()
        await reader.readuntil(b"354")
        writer.close()
        await writer.wait_closed()
    assert seen == []


PROGRAM = """
import smtpx
app = smtpx.App()
app.on_ready(lambda server: print("ready", flush=True))
app.on_shutdown(lambda: print("ended", flush=True))
app.run("127.0.0.1:0")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert without_slow_callbacks(errors) == ""
    assert (output, process.returncode) == ("ended\n", 0)


async def test_two_readers_of_one_file_do_not_disturb_each_other() -> None:
    app = App(AppOptions(memory_octets=1))
    message = b"Subject: x\r\n\r\n" + (bytes(range(65, 91)) + b"\r\n") * 50_000

    async def read(mail: Mail) -> bytes:
        return b"".join([one async for one in mail.blocks()])

    @app.on_message()
    async def handle(mail: Mail) -> None:
        assert await asyncio.gather(*[read(mail) for _ in range(5)]) == [message] * 5

    async with app.serving() as server:
        await send(server, "b@example.com", message=message)


@pytest.mark.parametrize("wrong", [(0, 1, 1.0), (1, 0, 1.0), (1, 1, -1.0)])
def test_options_that_make_no_sense(wrong: tuple[int, int, float]) -> None:
    threads, octets, grace = wrong
    with pytest.raises(ValueError, match="at least 1"):
        AppOptions(threads=threads, memory_octets=octets, grace=grace)
