"""Opening, the commands one by one, and what an error leaves behind."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from smtpx.client.conversation import Conversation
from smtpx.client.options import ClientOptions, Timeouts, TLSMode
from smtpx.errors import (
    BadAddress,
    BadParameter,
    CommandRefused,
    ConnectError,
    ConnectionLost,
    DataRefused,
    Delivery,
    GreetingRefused,
    HelloRefused,
    NotSupported,
    OutOfStep,
    PhaseTimeout,
    RecipientsRefused,
    SenderRefused,
    SendError,
    TLSFailed,
    TLSUnavailable,
    UnsafeOctets,
)
from smtpx.wire.forwarded import Unknown, XClient, XForward
from smtpx.wire.options import MailOptions, Notify, RcptOptions
from smtpx.wire.preamble import ProxyHeader
from tests.client.scripted import OPTIONS, Scripted, ScriptedRuntime, hello, step

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from smtpx.wire.replies import Reply

# --- Opening. ---


@pytest.mark.parametrize("tls", [TLSMode.NEVER, TLSMode.IMPLICIT])
@pytest.mark.parametrize("version", [1, 2])
def test_proxy_header_goes_before_everything(tls: TLSMode, version: int) -> None:
    header = ProxyHeader(("192.0.2.7", 40_112), ("198.51.100.1", 25), version=version)
    shown = header.encode().decode("latin-1").encode("unicode_escape").decode()
    script = f"C| {shown}\n{'== TLS ==' if tls is TLSMode.IMPLICIT else ''}\n{hello()}"
    lines: list[str] = []
    options = replace(OPTIONS, tls=tls, proxy_header=header, wire_log=lines.append)
    scripted = Scripted(script, options=options)
    scripted.connect()
    assert lines[0] == f"== PROXY header, version {version} =="
    assert scripted.channel.writes[0] == header.encode()
    scripted.require_end()


def test_proxy_header_that_nobody_takes() -> None:
    header = ProxyHeader(None, None, is_local=True)
    scripted = Scripted(
        "== UNREADABLE ==", options=replace(OPTIONS, proxy_header=header)
    )
    with pytest.raises(ConnectionLost) as caught:
        scripted.connect()
    assert caught.value.phase == "connect"
    assert not scripted.client.is_connected


XCLIENT = replace(
    OPTIONS,
    xclient=XClient(addr="192.0.2.1"),
    mechanisms=("PLAIN",),
    allow_plaintext_auth=True,
)
SPEAKS_FOR = """
C: XCLIENT ADDR=192.0.2.1
S: 220 mx.test
C: EHLO client.test
S: 250-mx.test
S: 250 AUTH PLAIN
"""


def test_each_connection_speaks_for_a_client_and_logs_in_after() -> None:
    logs_in = "C: AUTH PLAIN AHVzZXIAc2VjcmV0\nS: 235 2.7.0 ok\n"
    opening = hello("XCLIENT ADDR", "AUTH PLAIN") + SPEAKS_FOR + logs_in
    scripted = Scripted(
        opening + "C: QUIT\nS: 221 bye\n",
        opening,
        options=XCLIENT,
        auth=("user", "secret"),
    )
    scripted.connect()
    assert "XCLIENT" not in scripted.client.capabilities
    scripted(lambda client: client.quit())
    scripted.connect()
    scripted.require_end()


@pytest.mark.parametrize("keywords", [[], ["XCLIENT NAME"]])
def test_a_server_that_nobody_can_speak_to_for_others(keywords: list[str]) -> None:
    scripted = Scripted(hello(*keywords), options=XCLIENT)
    with pytest.raises(NotSupported, match="XCLIENT"):
        scripted.connect()
    assert not scripted.client.is_connected


def test_who_may_not_speak_for_others_is_not_connected() -> None:
    script = (
        hello("XCLIENT ADDR")
        + """
        C: XCLIENT ADDR=192.0.2.1
        S: 550 5.7.0 insufficient authorization
        """
    )
    scripted = Scripted(script, options=XCLIENT)
    with pytest.raises(CommandRefused):
        scripted.connect()
    assert not scripted.client.is_connected


def test_connect_greets_and_says_ehlo() -> None:
    scripted = Scripted(hello("SIZE 1000"))
    scripted.connect()
    client = scripted.client
    assert client.is_connected
    assert client.greeting is not None
    assert client.greeting.text == "mx.test"
    assert client.capabilities.size == 1000
    assert client.extension("size") == ("1000",)
    assert client.extension("DSN") is None
    assert client.tls is None
    assert client.peer == "192.0.2.25:25"
    assert repr(client) == "<Conversation mx.test:25: ready>"
    assert scripted.runtime.dialled == ["mx.test:25"]
    scripted.require_end()


def test_client_before_its_connection() -> None:
    client = Scripted().client
    assert not client.is_connected
    assert not client.capabilities
    assert client.peer is None
    assert client.tls is None
    assert client.greeting is None
    assert repr(client) == "<Conversation mx.test:25: closed>"
    with pytest.raises(ConnectionLost, match="call connect first"):
        step(client.noop())


def test_connecting_twice_is_a_mistake() -> None:
    scripted = Scripted(hello())
    scripted.connect()
    with pytest.raises(RuntimeError, match="connected already"):
        scripted.connect()
    assert scripted.client.is_connected


def test_client_needs_somewhere_to_connect() -> None:
    runtime = ScriptedRuntime([])
    with pytest.raises(ValueError, match="a URL, or a connected socket"):
        Conversation(runtime, None, OPTIONS, None, None)
    with pytest.raises(ValueError, match="LMTP client"):
        Scripted(url="lmtp://x").client.__class__(
            runtime, "smtp://mx.test", OPTIONS, None, None
        )


def test_options_reach_the_dialler() -> None:
    options = ClientOptions(hello_name="client.test", local_address="192.0.2.7")
    scripted = Scripted(hello(), options=options)
    scripted.connect()
    assert scripted.runtime.dialled == ["mx.test:25 from 192.0.2.7"]
    assert scripted.runtime.timeouts == [30]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (ConnectionRefusedError(111, "refused"), ConnectError),
        (socket.gaierror(-2, "unknown name"), ConnectError),
        (TimeoutError(), PhaseTimeout),
    ],
)
def test_no_connection(failure: OSError, kind: type[SendError]) -> None:
    scripted = Scripted()
    scripted.runtime.error = failure
    with pytest.raises(kind, match=r"no connection to mx\.test:25") as caught:
        scripted.connect()
    assert caught.value.phase == "connect"
    assert caught.value.is_temporary
    assert caught.value.delivery is Delivery.NOT_SENT
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        # As asyncio has it, which puts its own words in the place of the system's.
        (
            ConnectionRefusedError(
                errno.ECONNREFUSED, "Connect call failed ('::1', 1)"
            ),
            "Connection refused; nothing listens there: check host and port",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "Name or service not known; check the name of the server",
        ),
        (OSError(errno.EHOSTUNREACH, "x"), os.strerror(errno.EHOSTUNREACH)),
        (OSError("the proxy refuses"), "the proxy refuses"),
    ],
)
def test_why_there_is_no_connection(failure: OSError, said: str) -> None:
    scripted = Scripted()
    scripted.runtime.error = failure
    with pytest.raises(ConnectError) as caught:
        scripted.connect()
    assert str(caught.value) == f"no connection to mx.test:25: {said}"


def test_open_socket_is_used_once() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        scripted = Scripted(hello() + "== EOF ==", url=None, socket=ours)
        scripted.connect()
        assert scripted.runtime.dialled == ["socket"]
        assert repr(scripted.client) == "<Conversation 192.0.2.25:25: ready>"
        step(scripted.client.close())
        assert repr(scripted.client) == "<Conversation socket: closed>"
        with pytest.raises(ConnectError, match="used up"):
            scripted.connect()


@pytest.mark.parametrize("code", [421, 554])
def test_refused_greeting(code: int) -> None:
    scripted = Scripted(f"S: {code} no service")
    with pytest.raises(GreetingRefused) as caught:
        scripted.connect()
    assert caught.value.reply is not None
    assert caught.value.reply.code == code
    assert caught.value.is_temporary is (code == 421)
    assert caught.value.phase == "greeting"
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected


@pytest.mark.parametrize("code", [500, 502])
def test_helo_where_ehlo_is_unknown(code: int) -> None:
    scripted = Scripted(
        f"""
        S: 220 old.test
        C: EHLO client.test
        S: {code} what?
        C: HELO client.test
        S: 250 old.test
        """
    )
    scripted.connect()
    assert not scripted.client.capabilities
    scripted.require_end()


@pytest.mark.parametrize("code", [421, 450, 501, 504, 521, 550, 554])
def test_no_helo_where_ehlo_is_refused(code: int) -> None:
    """HELO would hide what is wrong, and drop STARTTLS along with everything else."""
    scripted = Scripted(f"S: 220 x\nC: EHLO client.test\nS: {code} no")
    with pytest.raises(HelloRefused) as caught:
        scripted.connect()
    assert caught.value.smtp_code == code
    assert scripted.channel.is_aborted
    scripted.require_end()


def test_helo_may_be_refused_too() -> None:
    scripted = Scripted(
        "S: 220 x\nC: EHLO client.test\nS: 500 no\nC: HELO client.test\nS: 550 no"
    )
    with pytest.raises(HelloRefused):
        scripted.connect()


@pytest.mark.parametrize(
    ("hostname", "local", "name"),
    [
        ("mail.client.test", "192.0.2.1:4", "mail.client.test"),
        ("mail.client.test.", "192.0.2.1:4", "mail.client.test"),
        ("localhost", "192.0.2.1:4", "[192.0.2.1]"),
        ("laptop", "192.0.2.1:4", "[192.0.2.1]"),
        ("localhost.localdomain", "192.0.2.1:4", "[192.0.2.1]"),
        ("my_host.test", "192.0.2.1:4", "[192.0.2.1]"),
        ("grå.test", "192.0.2.1:4", "[192.0.2.1]"),
        ("laptop", "[2001:db8::1]:4", "[IPv6:2001:db8::1]"),
        ("laptop", "[::ffff:192.0.2.1]:4", "[192.0.2.1]"),
        ("laptop", "[fe80::1%eth0]:4", "[IPv6:fe80::1]"),
        ("laptop", "unix:", "laptop"),
        ("my_host", "unix:", "localhost"),
    ],
)
def test_default_name_is_full_or_an_address(
    monkeypatch: pytest.MonkeyPatch, hostname: str, local: str, name: str
) -> None:
    """RFC 5321 section 4.1.4; a bare "localhost" says nothing to another host."""
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    scripted = Scripted(hello(name=name), options=ClientOptions())
    scripted.runtime.local = local
    scripted.connect()
    scripted.require_end()


def test_name_with_a_line_end_is_refused() -> None:
    scripted = Scripted(
        "S: 220 x", options=replace(OPTIONS, hello_name="x\r\nMAIL FROM:<a@b>")
    )
    with pytest.raises(UnsafeOctets):
        scripted.connect()
    assert scripted.channel.writes == []


# --- TLS. ---

TLS = """
C: STARTTLS
S: 220 go
== TLS ==
C: EHLO client.test
S: 250-mx.test
S: 250 AUTH PLAIN
"""


@pytest.mark.parametrize("url", ["smtp://mx.test:587", "smtp+starttls://mx.test"])
def test_required_tls(url: str) -> None:
    scripted = Scripted(hello("STARTTLS", "SIZE 1") + TLS, url=url)
    scripted.connect()
    assert scripted.client.tls is not None
    assert scripted.channel.tls_name == "mx.test"
    assert dict(scripted.client.capabilities) == {"AUTH": ("PLAIN",)}
    scripted.require_end()


def test_implicit_tls_comes_before_the_greeting() -> None:
    scripted = Scripted("== TLS ==\n" + hello(), url="smtps://mx.test")
    scripted.connect()
    assert scripted.runtime.dialled == ["mx.test:465"]
    assert scripted.client.tls is not None
    scripted.require_end()


def test_name_in_the_certificate_may_be_another() -> None:
    options = ClientOptions(
        hello_name="client.test",
        server_hostname="other.test",
        tls_context=ssl.create_default_context(),
    )
    scripted = Scripted("== TLS ==\n" + hello(), url="smtps://mx.test", options=options)
    scripted.connect()
    assert scripted.channel.tls_name == "other.test"


def test_opportunistic_tls_is_used_when_offered() -> None:
    scripted = Scripted(hello("STARTTLS") + TLS, url="smtp://mx.test")
    scripted.connect()
    assert scripted.client.tls is not None


@pytest.mark.parametrize(
    "script", [hello(), hello("STARTTLS") + "C: STARTTLS\nS: 454 not now"]
)
def test_opportunistic_tls_does_without(script: str) -> None:
    scripted = Scripted(script, url="smtp://mx.test")
    scripted.connect()
    assert scripted.client.tls is None
    scripted.require_end()


def test_tls_is_never_used_when_told_so() -> None:
    scripted = Scripted(
        hello("STARTTLS"),
        options=replace(OPTIONS, tls=TLSMode.NEVER),
        url="smtp://mx.test",
    )
    scripted.connect()
    scripted.require_end()


@pytest.mark.parametrize(
    "script",
    [
        hello("AUTH PLAIN"),
        hello("STARTTLS", "AUTH PLAIN") + "C: STARTTLS\nS: 454 not now",
        hello("STARTTLS", "AUTH PLAIN") + "C: STARTTLS\nS: 500 what?",
        "S: 220 x\nC: EHLO client.test\nS: 502 no\nC: HELO client.test\nS: 250 x",
    ],
)
def test_required_tls_is_never_dropped(script: str) -> None:
    """Stripping (CVE-2016-0772): neither AUTH nor MAIL goes out in clear."""
    scripted = Scripted(script, url="smtp://mx.test:587", auth=("user", "secret"))
    with pytest.raises(TLSUnavailable) as caught:
        step(scripted.client.send(b"x", sender="a@a.test", recipients="b@b.test"))
    assert caught.value.is_temporary
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected
    scripted.require_end()


@pytest.mark.parametrize("url", ["smtp://mx.test:587", "smtp://mx.test:25"])
def test_failed_handshake_closes_and_never_goes_on_in_clear(url: str) -> None:
    script = hello("STARTTLS") + "C: STARTTLS\nS: 220 go\n== TLS FAILS =="
    scripted = Scripted(script, url=url)
    with pytest.raises(TLSFailed, match="certificate verify failed") as caught:
        scripted.connect()
    # It does not get right by waiting, and somebody can do something about it.
    assert not caught.value.is_temporary
    assert "connection is lost" not in str(caught.value)
    assert "tls_context" in str(caught.value)
    assert caught.value.phase == "tls"
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert scripted.channel.is_aborted
    scripted.require_end()


def test_handshake_that_breaks_may_work_later() -> None:
    script = hello("STARTTLS") + "C: STARTTLS\nS: 220 go\n== TLS BREAKS =="
    scripted = Scripted(script, url="smtp://mx.test:587")
    with pytest.raises(TLSFailed, match=r"^the TLS handshake failed: ") as caught:
        scripted.connect()
    assert caught.value.is_temporary
    assert caught.value.phase == "tls"
    assert scripted.channel.is_aborted


def test_handshake_that_takes_too_long() -> None:
    script = hello("STARTTLS") + "C: STARTTLS\nS: 220 go\n== TIMEOUT =="
    scripted = Scripted(script, url="smtp://mx.test:587")
    with pytest.raises(PhaseTimeout) as caught:
        scripted.connect()
    assert caught.value.phase == "tls"
    assert str(caught.value) == "the server took longer than Timeouts.tls allows"


def test_no_greeting_where_tls_is_from_the_start() -> None:
    """Such a server waits for a handshake, and the client for a greeting."""
    scripted = Scripted("== TIMEOUT ==")
    with pytest.raises(PhaseTimeout, match="from the start, use smtps://") as caught:
        scripted.connect()
    assert caught.value.delivery is Delivery.NOT_SENT


def test_a_reply_that_never_comes_may_be_a_message_delivered() -> None:
    script = (
        hello()
        + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok\n"
        "C: DATA\nS: 354 go\nC| x\\r\\n.\\r\\n\n== TIMEOUT =="
    )
    scripted = Scripted(script)
    scripted.connect()
    with pytest.raises(PhaseTimeout, match="may have the message") as caught:
        step(scripted.client.send(b"x", sender="a@a.test", recipients="b@b.test"))
    assert caught.value.delivery is Delivery.UNKNOWN


@pytest.mark.parametrize(
    "octets",
    ["220 ready\\r\\n250-x\\r\\n250 AUTH PLAIN\\r\\n", "220 ok\\r\\n250-AUTH LOG"],
)
@pytest.mark.parametrize("url", ["smtp://mx.test:587", "smtp://mx.test:25"])
def test_octets_behind_the_220_are_an_attack(octets: str, url: str) -> None:
    """CVE-2021-38371, CVE-2026-41319."""
    scripted = Scripted(hello("STARTTLS") + f"C: STARTTLS\nS| {octets}", url=url)
    with pytest.raises(OutOfStep, match="STARTTLS"):
        scripted.connect()
    assert scripted.channel.tls_name is None
    assert scripted.channel.is_aborted


def test_octets_before_the_handshake_are_an_attack_too() -> None:
    scripted = Scripted(
        hello("STARTTLS") + "C: STARTTLS\nS: 220 go\n== WAIT 0 ==\nS: 250 x",
        url="smtp://mx.test:587",
    )

    def plant() -> None:
        channel = scripted.channel
        channel.steps = [one for one in channel.steps if not one[0].startswith("WAIT")]

    original = ScriptedRuntime._connect

    def connect(runtime: ScriptedRuntime, where: str, timeout: float | None) -> object:
        channel = original(runtime, where, timeout)
        receive = channel.receive

        async def receive_and_plant(*, timeout: float | None) -> bytes:
            data = await receive(timeout=timeout)
            if data == b"220 go\r\n":
                plant()
            return data

        channel.receive = receive_and_plant  # type: ignore[method-assign]
        return channel

    scripted.runtime._connect = connect.__get__(scripted.runtime)  # type: ignore[method-assign]
    with pytest.raises(OutOfStep, match="in clear"):
        scripted.connect()


def test_starttls_by_hand() -> None:
    scripted = Scripted(hello("STARTTLS") + TLS)
    scripted.connect()
    assert scripted(Conversation.starttls).code == 220
    assert scripted.client.tls is not None
    with pytest.raises(TLSUnavailable, match="does not offer"):
        scripted(Conversation.starttls)
    assert scripted.client.is_connected


# --- Commands. ---


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("NOOP", lambda client: client.noop()),
        ("NOOP ping", lambda client: client.noop("ping")),
        ("RSET", lambda client: client.reset()),
        ("VRFY bob", lambda client: client.verify("bob")),
        ("EXPN list", lambda client: client.expand("list")),
        ("HELP", lambda client: client.help()),
        ("HELP MAIL", lambda client: client.help("MAIL")),
        ("XPING 1", lambda client: client.execute("xping", "1")),
    ],
)
def test_every_command_has_a_method(
    line: str, action: Callable[[Conversation], Coroutine[object, object, Reply]]
) -> None:
    scripted = Scripted(hello() + f"C: {line}\nS: 252 so so\nC: {line}\nS: 502 no")
    scripted.connect()
    assert scripted(action).code == 252
    if line.startswith("XPING"):
        assert scripted(action).code == 502
    else:
        with pytest.raises(CommandRefused) as caught:
            scripted(action)
        assert caught.value.command == line.split(maxsplit=1)[0]
        assert caught.value.smtp_code == 502
    assert scripted.client.is_connected
    scripted.require_end()


def test_hello_by_hand() -> None:
    scripted = Scripted(hello() + "C: EHLO other.test\nS: 250-mx.test\nS: 250 DSN")
    scripted.connect()
    assert scripted(lambda client: client.hello("other.test")).code == 250
    assert scripted.client.extension("DSN") == ()


def test_transaction_by_hand() -> None:
    scripted = Scripted(
        hello("SIZE", "DSN")
        + """
        C: MAIL FROM:<a@a.test> ENVID=x
        S: 250 ok
        C: RCPT TO:<b@b.test> NOTIFY=NEVER
        S: 250 ok
        C: RCPT TO:<c@b.test>
        S: 550 5.1.1 no such mailbox
        C: DATA
        S: 354 go
        C: hello
        C: .
        S: 250 2.0.0 Ok: queued as 4XkQ
        """
    )
    scripted.connect()
    client = scripted.client
    step(client.mail("a@a.test", MailOptions(envelope_id="x")))
    step(client.rcpt("b@b.test", RcptOptions(notify=(Notify.NEVER,))))
    with pytest.raises(RecipientsRefused) as caught:
        step(client.rcpt("c@b.test"))
    assert caught.value.recipients == {"c@b.test": (550, b"5.1.1 no such mailbox")}
    result = step(client.data("hello\n"))
    assert result.queue_id == "4XkQ"
    assert [one.recipient for one in result.accepted] == ["b@b.test"]
    assert [one.recipient for one in result.refused] == ["c@b.test"]
    scripted.require_end()


def test_sender_refused_by_hand() -> None:
    scripted = Scripted(hello() + "C: MAIL FROM:<>\nS: 550 no")
    scripted.connect()
    with pytest.raises(SenderRefused) as caught:
        scripted(lambda client: client.mail(""))
    assert caught.value.sender == ""
    assert scripted.client.is_connected


@pytest.mark.parametrize("code", [450, 554])
def test_data_refused_by_hand_and_the_next_transaction(code: int) -> None:
    scripted = Scripted(
        hello()
        + f"""
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C: DATA
        S: {code} no
        C: RSET
        S: 250 ok
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        """
    )
    scripted.connect()
    client = scripted.client
    step(client.mail("a@a.test"))
    step(client.rcpt("b@b.test"))
    with pytest.raises(DataRefused) as caught:
        step(client.data(b"x"))
    assert caught.value.phase == "data_start"
    assert caught.value.delivery is Delivery.REFUSED
    step(client.mail("a@a.test"))
    scripted.require_end()


def test_command_out_of_order_is_refused_here() -> None:
    scripted = Scripted(hello())
    scripted.connect()
    with pytest.raises(RuntimeError, match="RCPT is out of order"):
        scripted(lambda client: client.rcpt("b@b.test"))
    assert scripted.client.is_connected


def test_chunks_by_hand() -> None:
    scripted = Scripted(
        hello("CHUNKING")
        + r"""
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C| BDAT 4\r\na\r\nb
        S: 250 4 octets
        C| BDAT 2 LAST\r\n\r\n
        S: 250 2.0.0 OK id=1abCDe
        """
    )
    scripted.connect()
    client = scripted.client
    step(client.mail("a@a.test"))
    step(client.rcpt("b@b.test"))
    first = step(client.bdat(b"a\r\nb"))
    assert first.reply is not None
    assert first.reply.text == "4 octets"
    assert step(client.bdat(b"\r\n", is_last=True)).queue_id == "1abCDe"
    scripted.require_end()


def test_chunk_refused_by_hand() -> None:
    scripted = Scripted(
        hello("CHUNKING")
        + "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok\n"
        + "C| BDAT 1\\r\\nx\nS: 552 too much"
    )
    scripted.connect()
    step(scripted.client.mail("a@a.test"))
    step(scripted.client.rcpt("b@b.test"))
    with pytest.raises(DataRefused) as caught:
        step(scripted.client.bdat(b"x"))
    assert caught.value.command == "BDAT"
    assert scripted.client.is_connected


def test_last_chunk_in_lmtp_has_a_status_for_each_recipient() -> None:
    scripted = Scripted(
        hello("CHUNKING", verb="LHLO")
        + r"""
        C: MAIL FROM:<a@a.test>
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C: RCPT TO:<b@b.test>
        S: 250 ok
        C| BDAT 1 LAST\r\nx
        S: 250 one
        S: 452 full
        """,
        url="lmtp://mx.test",
        options=replace(OPTIONS, tls=TLSMode.NEVER),
    )
    scripted.connect()
    client = scripted.client
    step(client.mail("a@a.test"))
    for _ in range(2):
        step(client.rcpt("b@b.test"))
    result = step(client.bdat(b"x", is_last=True))
    assert [one.is_accepted for one in result.recipients] == [True, False]
    assert result.reply is None


def test_chunks_are_sent_only_where_offered() -> None:
    scripted = Scripted(hello())
    scripted.connect()
    with pytest.raises(NotSupported, match="CHUNKING"):
        scripted(lambda client: client.bdat(b"x"))


@pytest.mark.parametrize(
    "action",
    [
        lambda client: client.mail("a@a.test", MailOptions(envelope_id="x")),
        lambda client: client.rcpt("b@b.test", RcptOptions(notify=(Notify.NEVER,))),
    ],
)
def test_options_by_hand_need_their_extension(
    action: Callable[[Conversation], Coroutine[object, object, Reply]],
) -> None:
    scripted = Scripted(hello())
    scripted.connect()
    with pytest.raises(NotSupported, match="DSN"):
        scripted(action)
    assert scripted.client.is_connected


def test_xclient_starts_again() -> None:
    scripted = Scripted(
        hello("XCLIENT NAME ADDR login")
        + """
        C: XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 LOGIN=a+20b
        S: 220 mx.test
        C: EHLO client.test
        S: 250 mx.test
        """
    )
    scripted.connect()
    attributes = XClient(addr="192.0.2.1", name=Unknown.UNAVAILABLE, login="a b")
    assert scripted(lambda client: client.xclient(attributes)).code == 220
    with pytest.raises(NotSupported, match="XCLIENT"):
        scripted(lambda client: client.xclient(attributes))
    scripted.require_end()


def test_the_client_spoken_for_says_hello() -> None:
    scripted = Scripted(
        hello("XCLIENT")
        + """
        C: XCLIENT HELO=spike.test
        S: 220 mx.test
        C: EHLO spike.test
        S: 250 mx.test
        """
    )
    scripted.connect()
    attributes = XClient(helo="spike.test")
    assert scripted(lambda client: client.xclient(attributes)).code == 220
    scripted.require_end()


def test_refused_xclient_is_an_error_and_the_session_goes_on() -> None:
    scripted = Scripted(
        hello("XCLIENT ADDR")
        + """
        C: XCLIENT ADDR=192.0.2.1
        S: 550 5.7.0 insufficient authorization
        """
    )
    scripted.connect()
    with pytest.raises(CommandRefused) as caught:
        scripted(lambda client: client.xclient(XClient(addr="192.0.2.1")))
    assert caught.value.smtp_code == 550
    assert scripted.client.is_connected
    scripted.require_end()


def test_xforward_in_as_many_commands_as_it_needs() -> None:
    scripted = Scripted(
        hello("XFORWARD NAME ADDR IDENT HELO")
        + f"""
        C: XFORWARD NAME={"n" * 255} ADDR=192.0.2.1
        S: 250 ok
        C: XFORWARD HELO={"h" * 255} IDENT=4XkQ2
        S: 250 2.0.0 both
        """
    )
    scripted.connect()
    attributes = XForward(
        name="n" * 255, addr="192.0.2.1", helo="h" * 255, ident="4XkQ2"
    )
    reply = scripted(lambda client: client.xforward(attributes))
    assert reply.text == "both"
    scripted.require_end()


def test_refused_part_of_xforward_is_an_error() -> None:
    scripted = Scripted(
        hello("XFORWARD NAME HELO")
        + f"""
        C: XFORWARD NAME={"n" * 255}
        S: 501 5.5.4 no
        """
    )
    scripted.connect()
    attributes = XForward(name="n" * 255, helo="h" * 255)
    with pytest.raises(CommandRefused):
        scripted(lambda client: client.xforward(attributes))
    scripted.require_end()


@pytest.mark.parametrize(
    ("action", "missing"),
    [
        (lambda client: client.xclient(XClient(login="a", addr="::1")), "LOGIN$"),
        (lambda client: client.xforward(XForward(ident="1", name="a")), "XFORWARD$"),
    ],
)
def test_attributes_that_are_not_offered(
    action: Callable[[Conversation], Coroutine[object, object, Reply]], missing: str
) -> None:
    scripted = Scripted(hello("XCLIENT NAME ADDR"))
    scripted.connect()
    with pytest.raises(NotSupported, match=missing):
        scripted(action)
    scripted.require_end()


@pytest.mark.parametrize(
    "action",
    [
        lambda client: client.noop("x\r\nMAIL FROM:<evil@x.test>"),
        lambda client: client.verify("x\nDATA"),
        lambda client: client.execute("NOOP", "x\r\nRSET"),
        lambda client: client.hello("x\r\nMAIL FROM:<a@b>"),
        lambda client: client.xclient(XClient(addr="1\r\nRSET")),
        lambda client: client.xclient(XClient(login="a\r\nRSET")),
        lambda client: client.xforward(XForward(ident="a\r\nRSET")),
        lambda client: client.mail("x@b.c>\r\nRCPT TO:<v@x>"),
        lambda client: client.mail("a@b> SIZE=1 <"),
        lambda client: client.mail('"a\r\nRCPT TO:<v@x>"@y'),
        lambda client: client.mail("a@b\n"),
        lambda client: client.mail("a\0@b"),
        lambda client: client.mail("a\u760d\u760aRCPT TO:<v@x>@b"),
    ],
)
def test_nothing_can_end_a_line_early(
    action: Callable[[Conversation], Coroutine[object, object, Reply]],
) -> None:
    scripted = Scripted(hello("XCLIENT", "XFORWARD"))
    scripted.connect()
    writes = len(scripted.channel.writes)
    with pytest.raises((UnsafeOctets, BadAddress, BadParameter)):
        scripted(action)
    assert len(scripted.channel.writes) == writes
    assert scripted.client.is_connected


# --- Closing. ---


def test_quit_says_goodbye_and_closes() -> None:
    scripted = Scripted(hello() + "C: QUIT\nS: 221 bye")
    scripted.connect()
    reply = scripted(Conversation.quit)
    assert reply is not None
    assert reply.code == 221
    assert scripted.channel.is_closed
    assert not scripted.client.is_connected
    assert scripted(Conversation.quit) is None
    step(scripted.client.close())


@pytest.mark.parametrize("end", ["== EOF ==", "== RESET ==", "== TIMEOUT ==", "S: xx"])
def test_quit_does_not_care_what_happens(end: str) -> None:
    scripted = Scripted(hello() + f"C: QUIT\n{end}")
    scripted.connect()
    assert scripted(Conversation.quit) is None
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected


def test_quit_waits_for_a_moment_only() -> None:
    scripted = Scripted(hello() + "C: QUIT\nS: 221 bye")
    scripted.connect()
    scripted(Conversation.quit)
    assert scripted.channel.timeouts[-1] == 5


# --- What an error leaves behind. ---


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ("== EOF ==", ConnectionLost),
        ("== RESET ==", ConnectionLost),
        ("== TIMEOUT ==", PhaseTimeout),
        ("S: 25", OutOfStep),
        ("S: 999 x", OutOfStep),
        ("S| 250-a\\r\\n251 b\\r\\n", OutOfStep),
        ("S| 250 a\\n", OutOfStep),
        ("S: 354 x", OutOfStep),
    ],
)
def test_connection_that_is_not_in_step_is_closed(
    end: str, kind: type[SendError]
) -> None:
    scripted = Scripted(hello() + f"C: NOOP\n{end}")
    scripted.connect()
    with pytest.raises(kind) as caught:
        scripted(lambda client: client.noop())
    assert caught.value.phase == "command"
    assert caught.value.is_temporary
    assert scripted.channel.is_aborted
    assert not scripted.client.is_connected
    with pytest.raises(ConnectionLost, match="not connected"):
        scripted(lambda client: client.noop())


def test_late_reply_is_never_paired_with_the_next_command() -> None:
    scripted = Scripted(
        hello() + "C: VRFY bob\n== TIMEOUT ==\nS: 250 late",
        hello() + "C: VRFY ann\nS: 550 no",
    )
    scripted.connect()
    with pytest.raises(PhaseTimeout):
        scripted(lambda client: client.verify("bob"))
    scripted.connect()
    with pytest.raises(CommandRefused):
        scripted(lambda client: client.verify("ann"))


def test_planted_octets_are_found_before_the_next_command() -> None:
    scripted = Scripted(hello() + "C: NOOP\nS: 250 ok\nS| 25")
    scripted.connect()
    scripted(lambda client: client.noop())
    with pytest.raises(OutOfStep, match="no command asked for"):
        scripted(lambda client: client.noop())
    assert scripted.channel.is_aborted


def test_goodbye_that_nobody_asked_for() -> None:
    scripted = Scripted(hello() + "C: NOOP\nS: 250 ok\nS: 421 closing")
    scripted.connect()
    scripted(lambda client: client.noop())
    with pytest.raises(ConnectionLost):
        scripted(lambda client: client.noop())
    assert scripted.channel.is_aborted


def test_goodbye_as_an_answer_closes_the_connection() -> None:
    scripted = Scripted(hello() + "C: NOOP\nS: 421 closing")
    scripted.connect()
    with pytest.raises(CommandRefused) as caught:
        scripted(lambda client: client.noop())
    assert caught.value.is_temporary
    assert not scripted.client.is_connected


def test_endless_reply_is_cut_off() -> None:
    scripted = Scripted(hello() + "C: NOOP\n" + "S: 250-more\n" * 600)
    scripted.connect()
    with pytest.raises(OutOfStep, match="500 lines"):
        scripted(lambda client: client.noop())


# --- Time. ---


def test_each_phase_has_its_timeout() -> None:
    """RFC 5321 section 4.5.3.2."""
    script = hello() + (
        "C: NOOP\nS: 250 ok\n"
        "C: MAIL FROM:<a@a.test>\nS: 250 ok\nC: RCPT TO:<b@b.test>\nS: 250 ok\n"
        "C: DATA\nS: 354 go\nC: x\nC: .\nS: 250 ok"
    )
    scripted = Scripted(script)
    scripted.connect()
    scripted(lambda client: client.noop())
    step(scripted.client.send(b"x", sender="a@a.test", recipients="b@b.test"))
    assert scripted.channel.timeouts == [300, 300, 300, 300, 300, 120, 600]


def test_reply_that_trickles_in_does_not_renew_its_timeout() -> None:
    drip = "".join(f"== WAIT 100 ==\nS| {octet}\n" for octet in "250 o")
    scripted = Scripted(hello() + "C: NOOP\n" + drip)
    scripted.connect()
    with pytest.raises(PhaseTimeout) as caught:
        scripted(lambda client: client.noop())
    assert caught.value.phase == "command"
    assert scripted.runtime.now == 1300


def test_total_time_bounds_a_call_and_names_the_phase() -> None:
    options = ClientOptions(hello_name="client.test", timeouts=Timeouts(total=250))
    script = hello() + "C: MAIL FROM:<a@a.test>\n== WAIT 100 ==\nS: 250"
    scripted = Scripted("== WAIT 200 ==\n" + script, options=options)
    with pytest.raises(PhaseTimeout, match="whole call was up in phase mail"):
        step(scripted.client.send(b"x", sender="a@a.test", recipients="b@b.test"))
    assert scripted.runtime.now == 1250
    assert scripted.runtime.timeouts == [30]


def test_total_time_is_for_each_call() -> None:
    options = ClientOptions(hello_name="client.test", timeouts=Timeouts(total=20))
    noop = "C: NOOP\n== WAIT 15 ==\nS: 250 ok\n"
    scripted = Scripted(hello() + noop + noop, options=options)
    scripted.connect()
    assert scripted.runtime.timeouts == [20]
    for _ in range(2):
        scripted(lambda client: client.noop())
    assert scripted.channel.timeouts[-2:] == [20, 20]


def test_no_time_is_left_for_the_next_step() -> None:
    options = ClientOptions(
        hello_name="client.test", timeouts=Timeouts(total=20, connect=None)
    )
    scripted = Scripted("S: 220 x", options=options)
    # The call begins, the connection is made; then the time is up.
    ticks = iter([0.0, 0.0, 30.0, 30.0])
    scripted.runtime.clock = lambda: next(ticks)  # type: ignore[method-assign]
    with pytest.raises(PhaseTimeout, match="whole call was up in phase greeting"):
        scripted.connect()
    assert scripted.runtime.timeouts == [20]


def test_waiting_for_ever_can_be_asked_for() -> None:
    timeouts = Timeouts(greeting=None, command=None)
    options = ClientOptions(hello_name="client.test", timeouts=timeouts)
    scripted = Scripted(
        "S| 22\n== WAIT 1 ==\nS| 0 x\\r\\n\n" + hello()[14:], options=options
    )
    scripted.connect()
    assert set(scripted.channel.timeouts) == {None}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"options": OPTIONS}, r"MailOptions, not of the type ClientOptions; .* given"),
        ({"options": {"size": 1}}, "MailOptions, not of the type dict"),
        (
            {"rcpt_options": MailOptions()},
            "RcptOptions, .* not of the type MailOptions",
        ),
    ],
)
def test_options_of_another_kind_fail_before_anything_is_sent(
    arguments: dict[str, object], text: str
) -> None:
    scripted = Scripted("")
    with pytest.raises(TypeError, match=text):
        step(
            scripted.client.send(
                b"x",
                sender="a@a.test",
                recipients=["b@b.test"],
                **arguments,  # type: ignore[arg-type]
            )
        )


def test_a_client_with_options_of_a_message() -> None:
    with pytest.raises(TypeError, match="ClientOptions, not of the type MailOptions"):
        Scripted("", options=MailOptions())  # type: ignore[arg-type]
