"""Extensions from end to end: what a client asks for, a session gets."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from smtpx.client.blocking import Client
from smtpx.client.options import ClientOptions, TLSMode
from smtpx.core.limits import Limits
from smtpx.errors import CommandRefused, NotSupported, RecipientsRefused, SenderRefused
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import ConnectionInfo, Session
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension, ExtensionSettings
from smtpx.wire.grammar import parse_raw
from smtpx.wire.options import (
    ByMode,
    DeliverBy,
    EncodeContext,
    MailOptions,
    NoSupportAction,
    RcptOptions,
    ValidSince,
)
from smtpx.wire.params import Parameter
from smtpx.wire.replies import Reply

if TYPE_CHECKING:
    from smtpx.server.body import Body
    from smtpx.wire.address import Mailbox
    from tests.server.conftest import Certificates

ALL = frozenset(
    {"REQUIRETLS", "RRVS", "DELIVERBY", "MT-PRIORITY", "FUTURERELEASE"}
    | {"NO-SOLICITING", "XOORG"}
)


@dataclass
class Seen:
    """What the hooks of all sessions of a server were called with."""

    mail: list[MailOptions] = field(default_factory=list)
    rcpt: list[RcptOptions] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


class Taking(Session):
    """Takes all, and notes it."""

    seen: Seen

    def __init__(self, connection: ConnectionInfo, seen: Seen) -> None:
        super().__init__(connection)
        self.seen = seen

    async def mail(
        self, reverse_path: Mailbox | None, options: MailOptions
    ) -> Reply | None:
        self.seen.mail.append(options)
        return None

    async def rcpt(self, forward_path: Mailbox, options: RcptOptions) -> Reply | None:
        self.seen.rcpt.append(options)
        return None

    async def data(self, body: Body) -> Reply | None:
        await body.read()
        return None


class Talking(Taking):
    """Has the hooks that switch extensions on."""

    async def verify(self, text: str) -> Reply | None:
        self.seen.texts.append(text)
        return Reply(250, "2.1.5", "<b@mx.test>")

    async def expand(self, text: str) -> Reply | None:
        self.seen.texts.append(text)
        return Reply(250, "2.1.5", "<b@mx.test>\n<c@mx.test>")

    async def etrn(self, node: str) -> Reply | None:
        self.seen.texts.append(node)
        return Reply(253, "2.0.0", "2 pending messages")

    async def command(self, verb: str, argument: str) -> Reply | None:
        self.seen.texts.append(f"{verb} {argument}")
        return Reply(250, "2.0.0", "pong")


def serve(
    seen: Seen,
    kind: type[Taking] = Taking,
    *,
    options: ServerOptions | None = None,
) -> Server:
    # A class of its own, as the server looks at the class for hooks.
    made = type(
        kind.__name__, (kind,), {"__init__": lambda s, c: kind.__init__(s, c, seen)}
    )
    return Server(made, options=options or ServerOptions(hostname="mx.test"))


def send(
    client: Client,
    *,
    options: MailOptions | None = None,
    rcpt_options: RcptOptions | None = None,
) -> None:
    client.send(
        b"x\r\n",
        sender="a@a.test",
        recipients=["b@b.test"],
        options=options or MailOptions(),
        rcpt_options=rcpt_options or RcptOptions(),
    )


def test_every_value_arrives_as_it_was_given(certificates: Certificates) -> None:
    seen = Seen()
    tomorrow = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    options = ServerOptions(
        hostname="mx.test",
        tls=certificates.server,
        extensions=ALL,
        extension_settings=ExtensionSettings(rcpt_compatibility=True),
    )
    mail = MailOptions(
        requiretls=True,
        deliver_by=DeliverBy(100_000, ByMode.NOTIFY, is_traced=True),
        mt_priority=-4,
        hold_for_seconds=86_400,
        solicit=("a", "b:c"),
        xoorg="example.com",
    )
    later = MailOptions(hold_until=tomorrow)
    rcpt = RcptOptions(
        valid_since=ValidSince(
            datetime(2014, 4, 3, 23, 1, tzinfo=UTC), NoSupportAction.CONTINUE
        ),
        deliver_by=DeliverBy(1, ByMode.RETURN),
        mt_priority=9,
    )
    settings = ClientOptions(
        tls=TLSMode.REQUIRED, tls_context=certificates.client, server_hostname="mx.test"
    )
    with (
        serve(seen, options=options).run_in_thread() as server,
        Client(server.addresses[0], options=settings) as client,
    ):
        assert "REQUIRETLS" in client.capabilities
        for one in (mail, later):
            client.mail("a@a.test", one)
            client.rcpt("b@b.test", rcpt)
            client.reset()
    assert seen.mail == [mail, later]
    assert seen.rcpt == [rcpt, rcpt]


def test_a_server_without_them_takes_none() -> None:
    seen = Seen()
    with (
        serve(seen).run_in_thread() as server,
        Client(f"smtp+plain://{server.addresses[0]}") as client,
    ):
        assert not ALL & set(client.capabilities)
        for line in (
            "BY=1;R",
            "MT-PRIORITY=1",
            "HOLDFOR=1",
            "XOORG=a",
            "SOLICIT=a",
        ):
            reply = client.execute("MAIL", f"FROM:<> {line}")
            assert (reply.code, str(reply.enhanced)) == (555, "5.5.4")
        assert client.execute("ETRN", "mx.test").code == 502
        with pytest.raises(NotSupported, match="ETRN"):
            client.etrn("mx.test")
    assert seen.mail == []


def test_the_time_of_a_release_counts_from_the_session() -> None:
    seen = Seen()
    options = ServerOptions(
        hostname="mx.test",
        extensions=frozenset({"futurerelease"}),
        extension_settings=ExtensionSettings(future_release_max_seconds=3600),
    )
    before = datetime.now(UTC)
    with (
        serve(seen, options=options).run_in_thread() as server,
        Client(f"smtp+plain://{server.addresses[0]}") as client,
    ):
        interval, until = client.capabilities["FUTURERELEASE"]
    told = datetime.fromisoformat(until) - timedelta(seconds=int(interval))
    assert before - timedelta(minutes=1) <= told <= datetime.now(UTC)


def test_hooks_switch_their_extensions_on() -> None:
    seen = Seen()
    with (
        serve(seen, Talking).run_in_thread() as server,
        Client(f"smtp+plain://{server.addresses[0]}") as client,
    ):
        assert {"VRFY", "EXPN", "ETRN"} <= set(client.capabilities)
        assert client.verify("bob").text == "<b@mx.test>"
        assert client.expand("list").lines == ("<b@mx.test>", "<c@mx.test>")
        assert client.etrn("@mx.test").code == 253
    assert seen.texts == ["bob", "list", "@mx.test"]
    with (
        serve(seen).run_in_thread() as server,
        Client(f"smtp+plain://{server.addresses[0]}") as client,
    ):
        assert not {"VRFY", "EXPN", "ETRN"} & set(client.capabilities)
        with pytest.raises(CommandRefused):
            client.expand("list")


def test_a_verb_and_parameters_of_ones_own() -> None:
    def decode(value: bytes | None) -> object:
        return (value or b"").decode()

    def encode(value: object, _context: EncodeContext) -> bytes:
        return str(value).encode()

    rows = tuple(
        Parameter(
            keyword="XCOLOUR", command=command, decode=decode, encode=encode, rfc="mine"
        )
        for command in ("MAIL", "RCPT")
    )
    registry = DEFAULT_REGISTRY.with_extension(
        Extension("XMINE", "mine", rows, (parse_raw("XPING"),), lambda _offer: "a b")
    )
    seen = Seen()
    options = ServerOptions(hostname="mx.test", registry=registry)
    with serve(seen, Talking, options=options).run_in_thread() as server:
        url = f"smtp+plain://{server.addresses[0]}"
        with Client(url, options=ClientOptions(registry=registry)) as client:
            assert client.extension("xmine") == ("a", "b")
            send(
                client,
                options=MailOptions(extra={"XCOLOUR": "red"}),
                rcpt_options=RcptOptions(extra={"XCOLOUR": "blue"}),
            )
            assert client.execute("XPING", "1 2").text == "pong"
    assert [one.extra for one in seen.mail] == [{"XCOLOUR": "red"}]
    assert [one.extra for one in seen.rcpt] == [{"XCOLOUR": "blue"}]
    assert seen.texts == ["XPING 1 2"]


def test_limits_are_told_held_and_obeyed() -> None:
    seen = Seen()
    limits = Limits(max_recipients=2, max_transactions=2, max_recipient_domains=1)
    options = ServerOptions(hostname="mx.test", limits=limits)
    with serve(seen, options=options).run_in_thread() as server:
        with Client(f"smtp+plain://{server.addresses[0]}") as client:
            told = client.capabilities["LIMITS"]
            assert told == ("RCPTMAX=2", "MAILMAX=2", "RCPTDOMAINMAX=1")
            for _ in range(5):  # over three connections
                send(client)
            with pytest.raises(NotSupported, match="RCPTMAX"):
                client.send(b"x", sender="", recipients=["a@b.test"] * 3)
        # One that knows nothing of them is refused.
        with Client(f"smtp+plain://{server.addresses[0]}") as client:
            client.mail("")
            client.rcpt("b@one.test")
            assert client.execute("RCPT", "TO:<b@two.test>").code == 452
            client.rcpt("c@one.test")
            assert client.execute("RCPT", "TO:<d@one.test>").code == 452
            client.reset()
            client.mail("")
            client.reset()
            assert client.execute("MAIL", "FROM:<>").code == 421
    assert len(seen.mail) == 7


def test_a_hook_may_refuse_what_is_well_formed() -> None:
    """RFC 6710 section 4.1: who may raise a priority is for the session to say."""

    class Careful(Taking):
        async def mail(
            self, reverse_path: Mailbox | None, options: MailOptions
        ) -> Reply | None:
            if (options.mt_priority or 0) > 0 and not self.connection.user:
                return Reply(550, "5.7.1", "who are you to be in a hurry?")
            return await super().mail(reverse_path, options)

        async def rcpt(
            self, forward_path: Mailbox, options: RcptOptions
        ) -> Reply | None:
            if options.valid_since is not None:
                return Reply(550, "5.7.17", "mailbox owner has changed")
            return await super().rcpt(forward_path, options)

    seen = Seen()
    options = ServerOptions(hostname="mx.test", extensions=ALL)
    since = ValidSince(datetime(2014, 1, 1, tzinfo=UTC))
    with (
        serve(seen, Careful, options=options).run_in_thread() as server,
        Client(f"smtp+plain://{server.addresses[0]}") as client,
    ):
        with pytest.raises(SenderRefused):
            send(client, options=MailOptions(mt_priority=1))
        with pytest.raises(RecipientsRefused):
            send(client, rcpt_options=RcptOptions(valid_since=since))
        send(client, options=MailOptions(mt_priority=-1))
    assert [one.mt_priority for one in seen.mail] == [None, -1]


@pytest.mark.parametrize("keyword", ["DELIVER-BY", "", "XMINE"])
def test_only_what_the_registry_has_can_be_switched_on(keyword: str) -> None:
    with pytest.raises(ValueError, match="the registry has no extension"):
        ServerOptions(extensions=frozenset({keyword}))
