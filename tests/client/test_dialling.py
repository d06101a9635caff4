"""Getting to a server: by MX, by a resolver, through a proxy."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.aio import AsyncClient
from smtpx.client.dialling import may_try_next
from smtpx.client.options import Auth, ClientOptions, Timeouts, TLSMode
from smtpx.errors import (
    AuthenticationFailed,
    ConnectError,
    GreetingRefused,
    HelloRefused,
    PhaseTimeout,
    SendError,
    TLSFailed,
    TLSUnavailable,
)
from smtpx.net.aio_dns import AsyncDNSResolver
from smtpx.net.dns import DNSFailure, DNSResolver, MailExchanger
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.wire.replies import Reply
from tests.client.scripted import OPTIONS, Scripted, hello
from tests.net.nameserver import NameServer

if TYPE_CHECKING:
    from smtpx.net.dns import Resolver
    from tests.client.conftest import Certificates, Front, Inbox

BOB: dict[str, Any] = {"sender": "a@a.test", "recipients": "b@b.test"}


@dataclass
class Names:
    """A resolver with a table, which notes what it is asked."""

    exchangers: Sequence[MailExchanger] = ()
    ips: dict[str, list[str]] = field(default_factory=dict)
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)

    async def addresses(self, host: str, *, timeout: float | None) -> Sequence[str]:
        self.asked.append(f"addresses of {host}")
        if host not in self.ips:
            raise DNSFailure(f"there is no domain {host}", is_temporary=False)
        return self.ips[host]

    async def mail_exchangers(
        self, domain: str, *, timeout: float | None
    ) -> Sequence[MailExchanger]:
        self.asked.append(f"MX of {domain}")
        self.timeouts.append(timeout)
        if self.failure is not None:
            raise self.failure
        return self.exchangers


TWO = [MailExchanger(20, "second.test"), MailExchanger(10, "first.test")]


def by_mx(*scripts: str, names: Names, url: str = "smtp+mx://b.test") -> Scripted:
    scripted = Scripted(*scripts, url=url)
    scripted.runtime.names = names
    return scripted


def test_the_mx_of_a_domain_is_dialled() -> None:
    names = Names(TWO)
    client = by_mx(hello(), names=names)
    client.connect()
    assert names.asked == ["MX of b.test"]
    assert names.timeouts == [30.0]
    assert client.runtime.dialled == ["first.test:25"]


@pytest.mark.parametrize(
    "first",
    [
        "S: 421 4.3.2 not now",
        "S: 554 5.7.1 go away",
        "== EOF ==",
        "== TIMEOUT ==",
        "S: 220 first.test\nC: EHLO client.test\nS: 421 4.3.2 not now",
        "S: 220 first.test\nC: EHLO client.test\n== RESET ==",
        hello("STARTTLS") + "C: STARTTLS\nS: 220 go on\n== TLS FAILS ==",
    ],
)
def test_the_next_host_is_tried(first: str) -> None:
    client = by_mx(first, hello(), names=Names(TWO))
    client.connect()
    assert client.runtime.dialled == ["first.test:25", "second.test:25"]
    assert client.channels[0].is_aborted
    client.require_end()


def test_the_last_hosts_failure_is_told() -> None:
    client = by_mx("== EOF ==", "S: 421 4.3.2 not now", names=Names(TWO))
    with pytest.raises(GreetingRefused):
        client.connect()


@pytest.mark.parametrize("is_first_refused", [True, False])
def test_mail_is_deferred_while_one_host_may_take_it_later(
    is_first_refused: bool,
) -> None:
    """A backup that knows nothing does not speak for the host that was down."""
    later, never = "S: 421 4.3.2 not now", "S: 554 5.7.1 go away"
    scripts = (never, later) if is_first_refused else (later, never)
    client = by_mx(*scripts, names=Names(TWO))
    with pytest.raises(GreetingRefused, match="421") as caught:
        client.connect()
    assert caught.value.is_temporary
    client.require_end()
    assert not client.client.is_connected


def test_mail_is_refused_when_no_host_will_ever_take_it() -> None:
    client = by_mx(*["S: 554 5.7.1 go away"] * 2, names=Names(TWO))
    with pytest.raises(GreetingRefused, match="554") as caught:
        client.connect()
    assert not caught.value.is_temporary


def test_what_every_host_would_say_counts_from_the_last_one_too() -> None:
    refusal = "S: 220 second.test\nC: EHLO client.test\nS: 550 5.7.1 not you"
    client = by_mx("S: 421 4.3.2 not now", refusal, names=Names(TWO))
    with pytest.raises(HelloRefused, match="550"):
        client.connect()


def test_what_every_host_would_say_is_told_at_once() -> None:
    refusal = "S: 220 first.test\nC: EHLO client.test\nS: 550 5.7.1 not you"
    client = by_mx(refusal, names=Names(TWO))
    with pytest.raises(HelloRefused):
        client.connect()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectError("x"), True),
        (TLSUnavailable("x"), True),
        (TLSFailed("x"), True),
        (HelloRefused("x", reply=Reply(421, None, "x")), True),
        (HelloRefused("x", reply=Reply(550, None, "x")), False),
        (AuthenticationFailed("x", attempts=[("PLAIN", Reply(535, None, "x"))]), False),
        (AuthenticationFailed("x", attempts=[("PLAIN", Reply(454, None, "x"))]), True),
    ],
)
def test_what_another_host_may_do_better(error: SendError, expected: bool) -> None:
    assert may_try_next(error) is expected


def test_a_host_that_does_not_answer_leaves_time_for_the_next() -> None:
    """Each host may take the time to connect."""
    client = by_mx(hello(), names=Names(TWO))
    client.runtime.error = ConnectionRefusedError()
    with pytest.raises(ConnectError, match=r"second\.test:25"):
        client.connect()
    assert client.runtime.dialled == ["first.test:25", "second.test:25"]
    assert client.runtime.timeouts == [30.0, 30.0]


def test_the_certificate_is_to_name_the_host_that_was_dialled() -> None:
    script = hello("STARTTLS") + "C: STARTTLS\nS: 220 go on\n== TLS ==\n"
    script += hello().partition("\n")[2]
    client = by_mx(script, names=Names(TWO))
    client.connect()
    assert client.channel.tls_name == "first.test"


def test_a_domain_without_mx_is_its_own() -> None:
    client = by_mx(hello(), names=Names())
    client.connect()
    assert client.runtime.dialled == ["b.test:25"]


def test_a_null_mx_is_final() -> None:
    client = by_mx(names=Names([MailExchanger(0, "")]))
    with pytest.raises(ConnectError, match="takes no mail") as caught:
        client.connect()
    assert not caught.value.is_temporary
    assert client.runtime.dialled == []


@pytest.mark.parametrize("is_temporary", [False, True])
def test_a_failure_of_the_dns_says_whether_to_try_again(is_temporary: bool) -> None:
    failure = DNSFailure("no answer", is_temporary=is_temporary)
    client = by_mx(names=Names(failure=failure))
    with pytest.raises(ConnectError, match=r"the MX of b\.test: no answer") as caught:
        client.connect()
    assert caught.value.is_temporary is is_temporary


def test_a_resolver_may_take_too_long() -> None:
    client = by_mx(names=Names(failure=TimeoutError()))
    with pytest.raises(PhaseTimeout) as caught:
        client.connect()
    assert caught.value.phase == "connect"


def test_a_domain_in_other_letters() -> None:
    names = Names()
    client = by_mx(hello(), names=names, url="smtp+mx://bücher.test")
    client.connect()
    assert names.asked == ["MX of xn--bcher-kva.test"]
    assert client.runtime.dialled == ["xn--bcher-kva.test:25"]


@pytest.mark.parametrize("url", ["smtp+mx://192.0.2.1", "smtp+mx://[2001:db8::1]"])
def test_an_address_literal_has_no_mx(url: str) -> None:
    client = Scripted(hello(), url=url)
    client.connect()
    assert len(client.runtime.dialled) == 1


@pytest.mark.parametrize(
    ("url", "auth"),
    [("smtp+mx://user:secret@b.test", None), ("smtp+mx://b.test", Auth("u", "secret"))],
)
def test_no_password_for_whomever_the_dns_names(url: str, auth: Auth | None) -> None:
    with pytest.raises(ValueError, match="whomever the DNS names") as caught:
        Scripted(url=url, auth=auth)
    assert "secret" not in str(caught.value)


def test_the_resolver_of_the_options_is_asked() -> None:
    names = Names(TWO, {"first.test": ["192.0.2.1", "2001:db8::1"]})
    options = replace(OPTIONS, resolver=names, local_address="192.0.2.9")
    client = Scripted(hello(), url="smtp+mx://b.test", options=options)
    client.connect()
    assert names.asked == ["MX of b.test", "addresses of first.test"]
    dialled = "first.test:25 from 192.0.2.9 at 192.0.2.1 2001:db8::1"
    assert client.runtime.dialled == [dialled]


def test_a_name_that_the_resolver_does_not_know() -> None:
    client = Scripted(options=replace(OPTIONS, resolver=Names()))
    with pytest.raises(ConnectError, match=r"no domain mx\.test") as caught:
        client.connect()
    assert not caught.value.is_temporary


def test_the_total_time_covers_the_lookup() -> None:
    names = Names(TWO)
    options = replace(OPTIONS, resolver=names, timeouts=Timeouts(total=5))
    client = Scripted(url="smtp+mx://b.test", options=options)
    with pytest.raises(ConnectError):
        client.connect()
    assert names.timeouts == [5]


SOCKS = (
    "C| \\x05\\x01\\x00\nS| \\x05\\x00\nC| \\x05\\x01\\x00\\x03\\x07mx.test\\x00\\x19\n"
)


def through(proxy: str, *scripts: str, auth: Auth | None = None) -> Scripted:
    options = replace(OPTIONS, proxy=proxy)
    return Scripted(*scripts, options=options, auth=auth)


def test_a_proxy_is_dialled_and_told_the_name() -> None:
    done = "S| \\x05\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\n"
    client = through("socks5://proxy.test", SOCKS + done + hello())
    client.connect()
    assert client.runtime.dialled == ["proxy.test:1080"]
    client.require_end()


def test_a_proxy_that_refuses() -> None:
    refusal = "S| \\x05\\x05\\x00\\x01\n"
    client = through("socks5://proxy.test", SOCKS + refusal)
    with pytest.raises(ConnectError, match=r"proxy\.test.*connection refused"):
        client.connect()
    assert client.channel.is_aborted


def test_a_password_is_not_for_a_proxy_on_loopback() -> None:
    """The end of its connection, which matters, may be anywhere."""
    done = "S| \\x05\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\n"
    client = through(
        "socks5://127.0.0.1",
        SOCKS + done + hello("AUTH PLAIN"),
        auth=Auth("user", "secret"),
    )
    client.runtime.peer = "127.0.0.1:1080"
    with pytest.raises(AuthenticationFailed):
        client.connect()


@pytest.mark.parametrize(
    "wrong", [{"proxy": "ftp://user:secret@p"}, {"local_address": "eth0"}]
)
def test_wrong_options_are_refused_early(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        ClientOptions(**wrong)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(ClientOptions(proxy="http://user:secret@p"))


# On sockets.


def resolver_for(front: Front, port: int) -> Resolver:
    kind = DNSResolver if front.name == "blocking" else AsyncDNSResolver
    return kind(["127.0.0.1"], port=port)


def test_mail_reaches_the_mx_that_is_alive(
    front: Front, inbox: Inbox, certificates: Certificates
) -> None:
    """The better host is not there; the worse has a certificate with its name."""
    with (
        Server(
            inbox,
            "127.0.0.2:0",
            options=ServerOptions(tls=certificates.server),
        ).run_in_thread() as server,
        NameServer().running() as dns,
    ):
        port = int(server.addresses[0].rpartition(":")[2])
        dns.records = {
            ("b.test", "MX"): ["10 dead.test.", "20 mx.test."],
            ("dead.test", "A"): ["127.0.0.3"],
            ("mx.test", "A"): ["127.0.0.4", "127.0.0.2"],
        }
        options = ClientOptions(
            resolver=resolver_for(front, dns.port), tls_context=certificates.client
        )

        async def scenario() -> None:
            url = f"smtp+mx://b.test:{port}"
            async with front.client(url, options=options) as client:
                assert client.tls.server_hostname == "mx.test"
                assert client.tls.is_verified
                assert client.peer == f"127.0.0.2:{port}"
                await client.send(b"x", **BOB)

        front.run(scenario)
    assert [one.is_tls for one in inbox.received] == [True]


def test_a_null_mx_on_sockets(front: Front) -> None:
    with NameServer({("b.test", "MX"): ["0 ."]}).running() as dns:
        options = ClientOptions(resolver=resolver_for(front, dns.port))

        async def scenario() -> None:
            with pytest.raises(ConnectError, match="null MX"):
                async with front.client("smtp+mx://b.test", options=options):
                    raise AssertionError("there is nobody to connect to")

        front.run(scenario)


def test_an_mx_that_is_an_address_leads_nowhere(front: Front) -> None:
    async def scenario() -> None:
        with NameServer({("b.test", "MX"): ["10 127.0.0.1."]}).running() as dns:
            options = ClientOptions(resolver=resolver_for(front, dns.port))
            with pytest.raises(ConnectError, match="names no host") as caught:
                async with front.client("smtp+mx://b.test", options=options):
                    raise AssertionError("there is nobody to connect to")
            assert not caught.value.is_temporary

    front.run(scenario)


@pytest.mark.parametrize("host", ["a..b", ".", f"{'a' * 64}.test", r"\200" * 20])
def test_what_can_be_no_name_is_looked_up_in_vain(front: Front, host: str) -> None:
    """An MX record can name anything; Python's own error is a UnicodeError."""

    async def scenario() -> None:
        with pytest.raises(ConnectError, match="cannot be the name") as caught:
            async with front.client(f"smtp://{host}", options=ClientOptions()):
                raise AssertionError("there is nobody to connect to")
        assert not caught.value.is_temporary

    front.run(scenario)


@contextmanager
def socks_server(expected: bytes, target: str) -> Iterator[int]:
    """A SOCKS5 proxy for one connection, made of two threads that copy octets.

    Its answer and the server's greeting leave in one write, as a fast proxy's do.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            near, _ = listener.accept()
            host, _, port = target.rpartition(":")
            with near, socket.create_connection((host, int(port))) as far:
                assert near.recv(3, socket.MSG_WAITALL) == b"\x05\x01\x00"
                near.sendall(b"\x05\x00")
                request = near.recv(len(expected), socket.MSG_WAITALL)
                assert request == expected
                near.sendall(b"\x05\x00\x00\x01" + bytes(6) + far.recv(4096))
                back = threading.Thread(target=copy, args=(far, near))
                back.start()
                copy(near, far)
                back.join()

        def copy(source: socket.socket, sink: socket.socket) -> None:
            # Whoever closes first may do so with a reset.
            with suppress(OSError):
                while data := source.recv(4096):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_mail_goes_through_a_proxy(
    front: Front, inbox: Inbox, certificates: Certificates
) -> None:
    """The proxy gets the name, which only it can resolve; TLS verifies that name."""
    options = ServerOptions(tls=certificates.server)
    with Server(inbox, options=options).run_in_thread() as server:
        expected = b"\x05\x01\x00\x03\x07mx.test\x09\xc4"
        with socks_server(expected, server.addresses[0]) as port:
            client_options = ClientOptions(
                tls=TLSMode.REQUIRED,
                tls_context=certificates.client,
                proxy=f"socks5://127.0.0.1:{port}",
            )

            async def scenario() -> None:
                async with front.client(
                    "smtp://mx.test:2500",
                    options=client_options,
                    auth=("user", "secret"),
                ) as client:
                    assert client.tls.is_verified
                    await client.send((b"x" * 98 + b"\r\n") * 1_000, **BOB)

            front.run(scenario)
    (received,) = inbox.received
    assert received.size == 100_000
    assert received.user == "user"


def test_a_cancelled_dial_leaves_no_socket() -> None:
    """-X dev tells of a socket that nobody closed."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
            options = ClientOptions(proxy=f"socks5://127.0.0.1:{port}")
            client = AsyncClient("smtp://mx.test", options=options)
            task = asyncio.create_task(client.connect())
            loop = asyncio.get_running_loop()
            silent.setblocking(False)
            theirs, _ = await loop.sock_accept(silent)
            with theirs:
                assert await loop.sock_recv(theirs, 3) == b"\x05\x01\x00"
                task.cancel()
                await asyncio.wait([task])
                assert await loop.sock_recv(theirs, 3) == b""
            assert task.cancelled()
            assert not client.is_connected

    asyncio.run(main())
