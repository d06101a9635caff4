"""Extensions at the client: what it does not ask for, and what it does about LIMITS."""

from __future__ import annotations

import dataclasses
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from smtpx.client.options import ClientOptions, TLSMode
from smtpx.errors import NotSupported
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension
from smtpx.wire.grammar import parse_raw
from smtpx.wire.options import (
    ByMode,
    DeliverBy,
    EncodeContext,
    MailOptions,
    RcptOptions,
    ValidSince,
)
from smtpx.wire.params import Parameter
from tests.client import scripted as scripts
from tests.client.scripted import OPTIONS, Scripted, hello

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.client.conversation import Conversation
    from smtpx.wire.envelope import SendResult


def message(recipient: str = "b@one.test") -> str:
    """Return the script of one message."""
    return f"""
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        C: RCPT TO:<{recipient}>
        S: 250 ok
        C: DATA
        S: 354 go on
        C: x
        C: .
        S: 250 ok
    """


QUIT = """
    C: QUIT
    S: 221 bye
"""


def send(
    scripted: Scripted,
    *recipients: str,
    options: MailOptions | None = None,
    rcpt_options: RcptOptions | None = None,
) -> SendResult:
    async def action(client: Conversation) -> SendResult:
        return await client.send(
            b"x\r\n",
            sender="a@a.test",
            recipients=recipients or ["b@one.test"],
            options=options or MailOptions(),
            rcpt_options=rcpt_options or RcptOptions(),
        )

    return scripted(action)


@pytest.fixture
def ours() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


# --- LIMITS (RFC 9422) ---------------------------------------------------------------


def test_the_server_has_enough_messages_and_gets_another_connection() -> None:
    opening = hello("LIMITS MAILMAX=2")
    scripted = Scripted(opening + message() * 2 + QUIT, opening + message())
    for _ in range(3):
        assert send(scripted).accepted
    scripted.require_end()
    assert scripted.channels[0].is_closed


def test_the_server_has_enough_domains_and_gets_another_connection() -> None:
    opening = hello("LIMITS RCPTDOMAINMAX=2")
    scripted = Scripted(
        opening
        + message("b@one.test")
        + message("b@two.test")
        + message("c@ONE.test")
        + QUIT,
        opening + message("b@three.test"),
    )
    for recipient in ("b@one.test", "b@two.test", "c@ONE.test", "b@three.test"):
        assert send(scripted, recipient).accepted
    scripted.require_end()


def test_one_message_for_more_domains_than_a_session_may_have() -> None:
    opening = hello("LIMITS RCPTDOMAINMAX=1")
    scripted = Scripted(opening + message())
    with pytest.raises(NotSupported, match="RCPTDOMAINMAX"):
        send(scripted, "b@one.test", "b@two.test")
    assert send(scripted).accepted
    scripted.require_end()


def test_on_a_new_connection_too() -> None:
    opening = hello("LIMITS RCPTDOMAINMAX=1")
    scripted = Scripted(opening + message() + QUIT, opening + message("b@two.test"))
    assert send(scripted).accepted
    with pytest.raises(NotSupported, match="recipients at 1 domains in a session"):
        send(scripted, "b@one.test", "b@two.test")
    assert send(scripted, "b@two.test").accepted
    scripted.require_end()


def test_a_socket_of_the_callers_is_no_more_than_one_session(
    ours: socket.socket,
) -> None:
    opening = hello("LIMITS MAILMAX=1")
    scripted = Scripted(
        opening + message() + "C: NOOP\nS: 250 ok\n", url=None, socket=ours
    )
    scripted.connect()
    assert send(scripted).accepted
    with pytest.raises(NotSupported, match="1 transactions in a session") as caught:
        send(scripted)
    assert caught.value.command == "MAIL"
    scripted(lambda client: client.noop())
    scripted.require_end()


def test_the_last_reply_to_ehlo_counts() -> None:
    """RFC 9422 section 3.6."""
    scripted = Scripted(
        hello("LIMITS MAILMAX=1")
        + message()
        + "C: EHLO client.test\nS: 250 mx.test\n"
        + message()
    )
    assert send(scripted).accepted
    scripted(lambda client: client.hello())
    assert send(scripted).accepted
    scripted.require_end()


def test_more_recipients_than_a_transaction_may_have() -> None:
    scripted = Scripted(hello("LIMITS RCPTMAX=1") + message())
    with pytest.raises(NotSupported, match="1 recipients of a message") as caught:
        send(scripted, "a@one.test", "b@one.test")
    assert caught.value.command == "RCPT"
    assert send(scripted).accepted
    scripted.require_end()


# --- what a server advertises is held ------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "options", "text"),
    [
        ("DELIVERBY 9", MailOptions(deliver_by=DeliverBy(8, ByMode.RETURN)), "9 sec"),
        ("FUTURERELEASE 9 2030-01-01T00:00:00Z", MailOptions(hold_for_seconds=10), "9"),
        ("NO-SOLICITING a:b", MailOptions(solicit=("a:b",)), "SOLICIT=a:b"),
        ("SIZE", MailOptions(mt_priority=1), "MT-PRIORITY"),
        ("SIZE", MailOptions(xoorg="a"), "XOORG"),
        ("SIZE", MailOptions(requiretls=True), "REQUIRETLS"),
    ],
)
def test_nothing_is_asked_that_would_be_refused(
    keyword: str, options: MailOptions, text: str
) -> None:
    scripted = Scripted(hello(keyword))
    scripted.connect()
    with pytest.raises(NotSupported, match=text) as caught:
        send(scripted, options=options)
    assert (caught.value.command, caught.value.phase) == ("MAIL", "mail")
    with pytest.raises(NotSupported, match=text):
        scripted(lambda client: client.mail("a@a.test", options))
    scripted.require_end()


def test_nothing_is_asked_of_rcpt_that_would_be_refused() -> None:
    scripted = Scripted(hello("DELIVERBY 9") + "C: MAIL FROM:<>\nS: 250 ok\n")
    scripted.connect()
    by = RcptOptions(deliver_by=DeliverBy(8, ByMode.RETURN))
    since = RcptOptions(valid_since=ValidSince(datetime(2030, 1, 1, tzinfo=UTC)))
    with pytest.raises(NotSupported, match="9 seconds") as caught:
        send(scripted, rcpt_options=by)
    assert (caught.value.command, caught.value.phase) == ("RCPT", "rcpt")
    scripted(lambda client: client.mail(""))
    with pytest.raises(NotSupported, match="9 seconds"):
        scripted(lambda client: client.rcpt("b@b.test", by))
    with pytest.raises(NotSupported, match="RRVS"):
        scripted(lambda client: client.rcpt("b@b.test", since))
    scripted.require_end()


# --- REQUIRETLS (RFC 8689) -----------------------------------------------------------

UNDER_TLS = (
    hello("STARTTLS")
    + "C: STARTTLS\nS: 220 go\n== TLS ==\n"
    + "C: EHLO client.test\nS: 250-mx.test\nS: 250 REQUIRETLS\n"
)
STARTTLS_FIRST = ClientOptions(hello_name="client.test", tls=TLSMode.REQUIRED)


def test_requiretls_needs_a_verified_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = MailOptions(requiretls=True)
    scripted = Scripted(UNDER_TLS, options=STARTTLS_FIRST)
    scripted.connect()
    assert not scripts.TLS_INFO.is_verified
    with pytest.raises(NotSupported, match="verified"):
        send(scripted, options=options)
    with pytest.raises(NotSupported, match="verified"):
        scripted(lambda client: client.mail("a@a.test", options))
    scripted.require_end()
    verified = dataclasses.replace(scripts.TLS_INFO, is_verified=True)
    monkeypatch.setattr(scripts, "TLS_INFO", verified)
    said = message().replace("<a@a.test>", "<a@a.test> REQUIRETLS")
    scripted = Scripted(UNDER_TLS + said, options=STARTTLS_FIRST)
    assert send(scripted, options=options).accepted
    scripted.require_end()


def test_requiretls_is_not_forgotten_on_the_second_attempt() -> None:
    """The connection that is used again has TLS, and the new one has none."""
    clear = hello("REQUIRETLS")
    scripted = Scripted(
        hello("REQUIRETLS") + message() + "C: MAIL FROM:<a@a.test> REQUIRETLS\n",
        clear,
    )
    assert send(scripted).accepted
    verified = dataclasses.replace(scripts.TLS_INFO, is_verified=True)
    scripted.channel.tls = verified
    scripted.channel.steps = [("UNREADABLE", b""), ("EOF", b"")]
    with pytest.raises(NotSupported, match="verified"):
        send(scripted, options=MailOptions(requiretls=True))
    assert len(scripted.channels) == 2
    assert scripted.channel.writes == [b"EHLO client.test\r\n"]


# --- of one's own --------------------------------------------------------------------


def encode(value: object, _context: EncodeContext) -> bytes:
    return str(value).encode()


COLOUR = Extension(
    "XCOLOUR",
    "example.com",
    parameters=tuple(
        Parameter(
            keyword="XCOLOUR",
            command=command,
            decode=lambda value: value,
            encode=encode,
            rfc="example.com",
        )
        for command in ("MAIL", "RCPT")
    ),
    verbs=(parse_raw("XPING"),),
)


def test_parameters_and_verbs_of_ones_own() -> None:
    options = dataclasses.replace(
        OPTIONS, registry=DEFAULT_REGISTRY.with_extension(COLOUR)
    )
    said = message("b@one.test").replace("<a@a.test>", "<a@a.test> XCOLOUR=red")
    said = said.replace("<b@one.test>", "<b@one.test> XCOLOUR=blue")
    scripted = Scripted(
        hello("XCOLOUR") + said + "C: XPING 1\nS: 250 pong\n", options=options
    )
    assert send(
        scripted,
        options=MailOptions(extra={"XCOLOUR": "red"}),
        rcpt_options=RcptOptions(extra={"XCOLOUR": "blue"}),
    ).accepted
    reply = scripted(lambda client: client.execute("xping", "1"))
    assert reply.text == "pong"
    scripted.require_end()


def test_parameters_of_ones_own_need_their_extension() -> None:
    registry = DEFAULT_REGISTRY.with_extension(COLOUR)
    options = dataclasses.replace(OPTIONS, registry=registry)
    scripted = Scripted(hello("SIZE"), options=options)
    scripted.connect()
    with pytest.raises(NotSupported, match="XCOLOUR"):
        send(scripted, options=MailOptions(extra={"XCOLOUR": "red"}))
    scripted.require_end()
