"""The mail server for tests: what it offers, and what it does wrong on demand."""

from __future__ import annotations

import ssl
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from smtpx.testing.certificates import ThrowawayCertificates, make_certificates
from smtpx.testing.faults import STAGES, Fault, Hold, Refusal, Stage
from smtpx.testing.mail_server import MailServer, MailServerOptions
from smtpx.testing.threads import run_in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

DEFAULT = smtpx.ClientOptions()
LETTER = b"Subject: hi\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def certificates() -> ThrowawayCertificates:
    return make_certificates()


@pytest.fixture
def started(
    certificates: ThrowawayCertificates,
) -> Iterator[Callable[..., MailServer]]:
    servers: list[MailServer] = []

    def start(**options: Any) -> MailServer:  # noqa: ANN401 - as the class
        server = MailServer(
            MailServerOptions(**options), make_certificates=lambda: certificates
        )
        server.__enter__()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.__exit__()


def send(
    server: MailServer,
    *to: str,
    auth: tuple[str, str] | None = None,
    client_options: smtpx.ClientOptions = DEFAULT,
) -> smtpx.SendResult:
    return smtpx.send(
        LETTER,
        to=server.url,
        auth=auth,
        sender="ann@a.test",
        recipients=to or ("bob@b.test",),
        client_options=client_options,
    )


def trusting(server: MailServer) -> smtpx.ClientOptions:
    if not server.options.has_tls:
        return DEFAULT
    return smtpx.ClientOptions(tls_context=server.certificates.client)


# ----------------------------------------------------------------------------- kinds


def test_plain(started: Callable[..., MailServer]) -> None:
    server = started()
    send(server)
    (mail,) = server.inbox
    assert mail.octets == LETTER
    assert mail.tls is None
    assert mail.user is None
    assert mail.protocol == "ESMTP"
    assert mail.hello_name
    assert server.url == f"smtp+plain://{server.host}:{server.port}"
    assert repr(server) == f"<MailServer {server.url}, 1 messages>"
    with smtpx.Client(server.url) as client:
        assert not {"AUTH", "STARTTLS"} & {*client.capabilities}
        assert {"SMTPUTF8", "DSN", "BINARYMIME"} <= {*client.capabilities}
    with pytest.raises(RuntimeError, match="give tls=True"):
        _ = server.certificates


@pytest.mark.parametrize(
    ("options", "scheme"),
    [
        ({"tls": True}, "smtp+starttls"),
        ({"require_tls": True}, "smtp+starttls"),
        ({"implicit_tls": True}, "smtps"),
    ],
)
def test_tls(
    started: Callable[..., MailServer], options: dict[str, Any], scheme: str
) -> None:
    server = started(**options)
    assert server.url.partition(":")[0] == scheme
    send(server, client_options=trusting(server))
    (mail,) = server.inbox
    assert mail.tls is not None
    assert mail.protocol == "ESMTPS"
    with pytest.raises(smtpx.TLSFailed):
        send(server)


def test_tls_is_required_where_it_was_asked(
    started: Callable[..., MailServer],
) -> None:
    server = started(require_tls=True)
    with smtpx.Client(f"smtp+plain://{server.host}:{server.port}") as client:
        reply = client.execute("MAIL", "FROM:<ann@a.test>")
    assert reply.code == 530


def test_users(started: Callable[..., MailServer]) -> None:
    server = started(auth={"ann": "secret", "bob": "päss"}, require_auth=True)
    send(server, auth=("ann", "secret"))
    send(server, auth=("bob", "päss"))
    assert [mail.user for mail in server.inbox] == ["ann", "bob"]
    for auth in ("ann", "wrong"), ("eve", "secret"):
        with pytest.raises(smtpx.AuthenticationFailed, match="535"):
            send(server, auth=auth)
    with pytest.raises(smtpx.SendError):
        send(server)
    assert len(server.inbox) == 2
    assert "secret" not in repr(server.options)


def test_lmtp_has_a_reply_for_each_recipient(
    started: Callable[..., MailServer],
) -> None:
    server = started(
        lmtp=True, refuse={"data eve@*": smtpx.Refuse(552, "5.2.2", "full")}
    )
    with smtpx.LMTPClient(server.url) as client:
        result = client.send(
            LETTER, sender="ann@a.test", recipients=["bob@b.test", "eve@b.test"]
        )
        assert [one.recipient for one in result.accepted] == ["bob@b.test"]
        (refused,) = result.refused
        assert str(refused.reply) == "552 5.2.2 full"
        assert [mail.recipients for mail in server.inbox] == [("bob@b.test",)]
        assert server.inbox[0].protocol == "LMTP"
        with pytest.raises(smtpx.SendError):
            client.send(LETTER, sender="ann@a.test", recipients=["eve@b.test"])
        # It is answered when the hook has ended, for which nobody waits above.
        client.noop()
        assert len(server.inbox) == 1


def test_the_options_of_the_server_stay_below(
    started: Callable[..., MailServer],
) -> None:
    limits = smtpx.Limits(max_message_octets=10_000)
    server = started(server=smtpx.ServerOptions(hostname="x.test", limits=limits))
    with smtpx.Client(server.url) as client:
        assert client.capabilities.size == 10_000
    assert started(server=smtpx.ServerOptions(lmtp=True)).url.startswith("lmtp://")


def test_a_full_inbox_refuses(started: Callable[..., MailServer]) -> None:
    server = started(max_messages=1)
    send(server)
    with pytest.raises(smtpx.SendError, match="452"):
        send(server)
    server.reset()
    send(server)
    assert len(server.inbox) == 1


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="require_auth needs auth"):
        MailServerOptions(require_auth=True)
    with pytest.raises(ValueError, match=r"no stage 'rctp': there are connect, .*rcpt"):
        MailServerOptions(refuse={"rctp": 550})
    with pytest.raises(ValueError, match="from 400 to 599"):
        MailServerOptions(refuse={"rcpt": 250})


# ---------------------------------------------------------------------------- faults

STAGE_NAMES: list[tuple[Stage, str]] = [
    ("connect", "127.0.0.1"),
    ("hello", "*"),
    ("start_tls", "*"),
    ("auth", "ANN"),
    ("mail", "*@a.test"),
    ("rcpt", "bob@*"),
    ("start_data", "bob@b.test"),
    ("data", "bob@b.test"),
]


def test_the_list_has_all_stages() -> None:
    assert [*(stage for stage, _ in STAGE_NAMES), "reply"] == list(STAGES)


@pytest.mark.parametrize(("stage", "matching"), STAGE_NAMES)
def test_refusals(
    started: Callable[..., MailServer], stage: Stage, matching: str
) -> None:
    server = started(auth={"ann": "secret"}, tls=stage == "start_tls")
    nobody = server.refuse(stage, 500, matching="nobody")
    fault = server.refuse(
        stage, smtpx.Refuse(554, "5.7.1", "go away"), matching=matching, times=1
    )
    with pytest.raises(smtpx.SendError, match="go away"):
        send(server, auth=("ann", "secret"), client_options=trusting(server))
    assert len(server.inbox) == 0
    assert (fault.hits, nobody.hits) == (1, 0)
    send(server, auth=("ann", "secret"), client_options=trusting(server))
    assert len(server.inbox) == 1


@pytest.mark.parametrize(("stage", "matching"), STAGE_NAMES)
def test_lost_connections(
    started: Callable[..., MailServer], stage: Stage, matching: str
) -> None:
    server = started(auth={"ann": "secret"}, tls=stage == "start_tls")
    server.drop(stage, matching=matching, times=1)
    with pytest.raises(smtpx.SendError) as raised:
        send(server, auth=("ann", "secret"), client_options=trusting(server))
    # Without a word, so nothing was refused.
    assert getattr(raised.value, "reply", None) is None
    assert len(server.inbox) == 0
    send(server, auth=("ann", "secret"), client_options=trusting(server))
    assert len(server.inbox) == 1


def test_who_is_held_before_tls_goes_on_under_it(
    started: Callable[..., MailServer],
) -> None:
    server = started(tls=True)
    options = trusting(server)
    client = threading.Thread(
        target=send, args=(server,), kwargs={"client_options": options}
    )
    with server.hold("start_tls") as hold:
        client.start()
        hold.wait_reached()
        server.inbox.assert_not_sent()
    client.join()
    server.inbox.assert_sent(count=1, tls=True)


@pytest.mark.parametrize("chunking", [smtpx.Chunking.ALWAYS, smtpx.Chunking.NEVER])
def test_a_message_is_taken_and_its_reply_is_lost(
    started: Callable[..., MailServer], chunking: smtpx.Chunking
) -> None:
    server = started()
    options = smtpx.ClientOptions(chunking=chunking)
    other = server.drop("reply", matching="eve@*")
    fault = server.drop("reply", matching="BOB@*", times=1)
    with pytest.raises(smtpx.ConnectionLost) as raised:
        send(server, client_options=options)
    assert raised.value.delivery is smtpx.Delivery.UNKNOWN
    assert (fault.hits, other.hits) == (1, 0)
    server.inbox.assert_sent(to="bob@b.test", count=1)
    # A client that does not know better sends it twice.
    send(server, client_options=options)
    server.inbox.assert_sent(to="bob@b.test", count=2)


def test_a_message_is_taken_and_the_client_is_told_otherwise(
    started: Callable[..., MailServer],
) -> None:
    server = started(refuse={"reply": 451})
    with pytest.raises(smtpx.DataRefused, match="451"):
        send(server)
    server.inbox.assert_sent(count=1)


def test_a_reply_that_is_lost_in_lmtp(started: Callable[..., MailServer]) -> None:
    server = started(lmtp=True, refuse={"data carl@*": 550})
    fault = server.drop("reply", matching="eve@*")
    server.drop("reply", matching="carl@*")
    to = ["bob@b.test", "carl@b.test", "eve@b.test"]
    with smtpx.LMTPClient(server.url) as client, pytest.raises(smtpx.SendError):
        client.send(LETTER, sender="a@a.test", recipients=to)
    assert [mail.recipients for mail in server.inbox] == [("bob@b.test", "eve@b.test")]
    assert fault.hits == 1


def test_no_reply_is_lost_where_nothing_was_taken(
    started: Callable[..., MailServer],
) -> None:
    server = started(lmtp=True, refuse={"data": 550})
    fault = server.drop("reply")
    with smtpx.LMTPClient(server.url) as client:
        with pytest.raises(smtpx.RecipientsRefused):
            client.send(LETTER, sender="a@a.test", recipients=["bob@b.test"])
        assert client.noop().code == 250
    assert fault.hits == 0


def test_a_connection_that_is_lost_in_lmtp_leaves_nothing(
    started: Callable[..., MailServer],
) -> None:
    server = started(lmtp=True)
    server.drop("data", matching="eve@*")
    with (
        smtpx.LMTPClient(server.url) as client,
        pytest.raises(smtpx.SendError),
    ):
        client.send(LETTER, sender="a@a.test", recipients=["bob@b.test", "eve@b.test"])
    assert len(server.inbox) == 0


def test_a_connection_with_tls_is_lost(started: Callable[..., MailServer]) -> None:
    server = started(tls=True)
    fault = server.drop("data")
    with pytest.raises(smtpx.ConnectionLost):
        send(server, client_options=trusting(server))
    assert fault.hits == 1
    assert len(server.inbox) == 0


def test_only_the_connection_in_question_is_lost(
    started: Callable[..., MailServer],
) -> None:
    server = started()
    with smtpx.Client(server.url) as other:
        server.drop("rcpt")
        with pytest.raises(smtpx.SendError):
            send(server)
        assert other.noop().code == 250


def test_faults_come_in_the_order_in_which_they_were_given(
    started: Callable[..., MailServer],
) -> None:
    server = started(refuse={"rcpt": 450})
    fault = server.refuse("rcpt", 550)
    with pytest.raises(smtpx.SendError, match="450"):
        send(server)
    assert fault.hits == 0
    server.reset()
    with pytest.raises(smtpx.SendError, match="450"):
        send(server)


def test_a_refusal_of_some_recipients(started: Callable[..., MailServer]) -> None:
    server = started(refuse={"rcpt  *@B.test": 550})
    result = send(server, "bob@b.test", "eve@c.test")
    assert [one.recipient for one in result.refused] == ["bob@b.test"]
    assert server.inbox[0].recipients == ("eve@c.test",)


def test_who_is_held_waits_for_the_test(started: Callable[..., MailServer]) -> None:
    server = started()
    with Sending(server) as client, server.hold("data") as hold:
        hold.wait_reached()
        assert client.is_alive()
        server.inbox.assert_not_sent()
    server.inbox.assert_sent(count=1)
    # Later ones are not held any more.
    send(server)


def test_a_reset_lets_those_go_who_are_held(
    started: Callable[..., MailServer],
) -> None:
    server = started()
    hold = server.hold("mail")
    with Sending(server):
        hold.wait_reached()
        server.reset()
    assert len(server.inbox) == 1


def test_a_server_ends_while_somebody_is_held(
    certificates: ThrowawayCertificates,
) -> None:
    with MailServer() as server:
        hold = server.hold("rcpt")
        client = Sending(server)
        client.start()
        hold.wait_reached()
    client.join()
    assert isinstance(client.error, smtpx.SendError)
    hold.release()


def test_nobody_came_to_be_held(started: Callable[..., MailServer]) -> None:
    hold = started().hold("data")
    with pytest.raises(AssertionError, match="no client got to 'data' within 0 s"):
        hold.wait_reached(timeout=0)


def test_faults_that_make_no_sense() -> None:
    stage: Any = "quit"
    with pytest.raises(ValueError, match="no stage 'quit'"):
        Fault(stage)
    with pytest.raises(ValueError, match="times must be 1 or more"):
        Fault("mail", times=0)
    with pytest.raises(ValueError, match="from 400 to 599"):
        Refusal("mail", 200)
    assert repr(Hold("mail")) == "<Hold at mail for *, 0 times>"


class Sending(threading.Thread):
    """Sends one message in the background."""

    def __init__(self, server: MailServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            send(self.server)
        except smtpx.SendError as error:
            self.error = error

    def __enter__(self) -> Sending:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.join()
        assert self.error is None


# ----------------------------------------------------------------------- what is beside


def test_without_trustme_tls_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    with MailServer() as server:
        send(server)
    with pytest.raises(RuntimeError, match=r"pip install 'smtpx\[testing\]'"):
        MailServer(MailServerOptions(tls=True))


def test_certificates_are_for_the_names_that_were_asked() -> None:
    made = make_certificates("mail.example.com")
    assert made.names == ("mail.example.com",)
    assert made.client.verify_mode is ssl.CERT_REQUIRED
    assert made.client.check_hostname
    assert made.client is made.client


class Context:
    """An asynchronous context that can fail."""

    def __init__(self, *, fails_in: str = "") -> None:
        self.fails_in = fails_in
        self.threads: list[int] = []

    async def __aenter__(self) -> str:
        self.threads.append(threading.get_ident())
        if self.fails_in == "enter":
            raise OSError("no entry")
        return "entered"

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.threads.append(threading.get_ident())
        if self.fails_in == "exit":
            raise OSError("no exit")


def test_an_asynchronous_context_in_a_thread() -> None:
    context = Context()
    with run_in_thread(context) as value:
        assert value == "entered"
        assert len(context.threads) == 1
    assert len(context.threads) == 2
    assert threading.get_ident() not in context.threads
    assert "smtpx-testing" not in [one.name for one in threading.enumerate()]


def test_a_context_that_cannot_be_entered() -> None:
    with (
        pytest.raises(OSError, match="no entry"),
        run_in_thread(Context(fails_in="enter")),
    ):
        pytest.fail("it was not entered")


def test_a_context_that_cannot_be_left() -> None:
    with (
        pytest.raises(OSError, match="no exit"),
        run_in_thread(Context(fails_in="exit")) as value,
    ):
        assert value == "entered"


def test_an_error_within_the_block_ends_the_thread() -> None:
    context = Context()
    with pytest.raises(LookupError), run_in_thread(context):
        raise LookupError
    assert len(context.threads) == 2
