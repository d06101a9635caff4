"""The mail clients of others deliver to our server: a test is a feature with a client.

What a client has must work, octet for octet; what our server refuses must come out at
its user. The page docs/reference/interoperability.md says what each has.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from tests.interop.certificates import write_certificates
from tests.interop.clients import CLIENTS, Client
from tests.interop.haproxy import HAProxy, running_haproxy
from tests.interop.messages import EMPTY_BODY, HEADER, TRICKY, large
from tests.interop.names import HELLO_NAME, RECIPIENTS, SENDER, USER
from tests.interop.oauth import make_token
from tests.interop.program_senders import PROXIED_CLIENT, TOKEN_MECHANISMS
from tests.interop.programs import HOST, free_port, open_directory
from tests.interop.recorder import Inbox, Received, session_of
from tests.interop.recording import Records
from tests.interop.senders import Report, Security, Task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from tests.interop.certificates import ServerFiles

pytestmark = pytest.mark.interop

YES, NO = "yes", "-"
LONG_LINE_OCTETS = 5_000


@dataclass(frozen=True)
class Site:
    """HAProxy, and where it expects our server behind it."""

    haproxy: HAProxy
    plain: int
    tls: int


@dataclass(frozen=True)
class Case:
    """One feature with one client."""

    client: Client
    files: ServerFiles
    directory: Path
    site: Site
    inbox: Inbox = field(default_factory=Inbox)

    def server(self, security: Security, **changes: Any) -> smtpx.Server:  # noqa: ANN401 - options of each kind
        """Return our server; `changes` are those of its options, and its port."""
        address = f"{HOST}:{changes.pop('port', 0)}"
        options = smtpx.ServerOptions(
            hostname="mx.example",
            smtputf8=True,
            dsn=True,
            tls=None if security is Security.NONE else self.files.server_context(),
            implicit_tls=security is Security.IMPLICIT,
            wire_log=self.inbox.log,
        )
        options = dataclasses.replace(options, **changes)
        return smtpx.Server(session_of(self.inbox), address, options=options)

    async def send(
        self,
        message: bytes = TRICKY,
        *,
        options: Mapping[str, object] | None = None,
        **how: Any,  # noqa: ANN401 - fields of a task
    ) -> Report:
        """Let the client send to our server."""
        task = Task(0, self.files, message, **how)
        settings = {"lmtp": task.is_lmtp, **(options or {})}
        async with self.server(task.security, **settings) as server:
            port = int(server.addresses[0].rpartition(":")[2])
            task = dataclasses.replace(task, port=port)
            return await self.client.send(task, self.directory)

    async def arrives(self, message: bytes = TRICKY, **how: Any) -> Received:  # noqa: ANN401
        """Let it send, and compare what arrives."""
        report = await self.send(message, **how)
        assert report.is_sent, report.text
        return self.take(message, how.get("recipients", RECIPIENTS))

    def take(
        self, message: bytes, recipients: tuple[str, ...] = RECIPIENTS
    ) -> Received:
        """Return the one message that arrived."""
        [received] = self.inbox.received
        self.inbox.received.clear()
        assert received.content == message
        assert received.recipients == recipients
        assert received.info.hello_name == HELLO_NAME
        return received


async def in_clear(case: Case) -> str:
    received = await case.arrives()
    assert (received.sender, received.protocol) == (SENDER, "ESMTP")
    return YES


async def by_tls(case: Case, security: Security) -> str:
    received = await case.arrives(security=security)
    # The protocol's name by RFC 3848.
    assert received.protocol == "ESMTPS"
    return YES


async def a_stranger_is_refused(case: Case) -> str:
    # The client trusts an authority that has not signed what our server shows.
    files = write_certificates(case.directory)
    options = {"tls": files.server_context()}
    for security in (Security.STARTTLS, Security.IMPLICIT):
        report = await case.send(security=security, options=options)
        assert not report.is_sent
    assert case.inbox.received == []
    assert not any(one.startswith("MAIL") for one in case.inbox.said)
    return YES


async def authenticates(case: Case) -> str:
    for mechanism in case.client.mechanisms:
        received = await case.arrives(
            security=Security.STARTTLS,
            mechanism=mechanism,
            secret=secret_of(mechanism),
            options={"require_auth": True, "auth_mechanisms": (mechanism,)},
        )
        assert received.protocol == "ESMTPSA"
        proved = case.inbox.proved.pop()
        assert (proved.user, proved.mechanism) == (USER, mechanism)
    return ", ".join(case.client.mechanisms)


async def wrong_password(case: Case) -> str:
    words = set()
    for mechanism in case.client.mechanisms:
        report = await case.send(
            security=Security.IMPLICIT,
            mechanism=mechanism,
            secret=secret_of(mechanism)[:-3] + "AAA",
            options={"require_auth": True, "auth_mechanisms": (mechanism,)},
        )
        assert not report.is_sent
        words.add(told(report, 535, "credentials"))
    assert (case.inbox.proved, case.inbox.received) == ([], [])
    return " or ".join(sorted(words))


def secret_of(mechanism: str) -> str:
    return make_token() if mechanism in TOKEN_MECHANISMS else Task.secret


async def eight_bit(case: Case) -> str:
    received = await case.arrives(declares_8bit=True)
    is_declared = received.envelope.options.body is smtpx.BodyType.EIGHTBITMIME
    return "declared" if is_declared else "undeclared"


async def utf8_addresses(case: Case) -> str:
    sender, recipients = "\u00e4@example.com", ("bj\u00f6rn@example.net",)
    report = await case.send(sender=sender, recipients=recipients, is_utf8=True)
    if "SMTPUTF8" in case.client.lacks:
        assert not report.is_sent
        assert "553 5.6.7" in report.text
        return NO
    assert report.is_sent, report.text
    received = case.take(TRICKY, recipients)
    assert received.sender == sender
    assert received.envelope.options.smtputf8
    return YES


async def notifications(case: Case) -> str:
    received = await case.arrives(wants_notice=True)
    options = received.envelope.options
    if "DSN" in case.client.lacks:
        assert options.return_content is None
        return NO
    assert options.return_content is smtpx.ReturnContent.HDRS
    for one in received.envelope.recipients:
        assert one.options.notify == (smtpx.Notify.FAILURE,)
    return YES


async def chunks(case: Case) -> str:
    await case.arrives(large(200_000))
    has_chunks = any(one.startswith("BDAT") for one in case.inbox.said)
    assert has_chunks is ("CHUNKING" not in case.client.lacks)
    return YES if has_chunks else NO


async def size(case: Case) -> str:
    limits = smtpx.Limits(max_message_octets=10_000)
    message = large(20_000)
    report = await case.send(message, options={"limits": limits})
    assert not report.is_sent
    assert case.inbox.received == []
    if not any(one.startswith("MAIL") for one in case.inbox.said):
        return "not sent"
    declared = any(" SIZE=" in one.upper() for one in case.inbox.said)
    # Refused by MAIL, or when all of it was there.
    word = "declared" if declared else "undeclared"
    return f"{word}; {told(report, 552, 'large')}"


async def empty_body(case: Case) -> str:
    await case.arrives(EMPTY_BODY)
    return YES


async def large_message(case: Case) -> str:
    await case.arrives(large(20_000_000))
    return YES


async def long_line(case: Case) -> str:
    message = HEADER + b"\r\n" + b"x" * LONG_LINE_OCTETS + b"\r\n"
    await case.arrives(message)
    limits = smtpx.Limits(max_message_line_octets=1_000)
    report = await case.send(message, options={"limits": limits})
    assert not report.is_sent
    assert case.inbox.received == []
    return YES


async def lmtp(case: Case) -> str:
    if "LMTP" in case.client.lacks:
        return NO
    report = await case.send(is_lmtp=True)
    assert case.take(TRICKY).protocol == "LMTP"
    if report.is_sent:
        return YES
    # smtplib reads one reply, takes the next for that to QUIT, and says it failed.
    assert "accepted" in report.text
    await case.arrives(is_lmtp=True, recipients=RECIPIENTS[:1])
    return "one recipient"


def told(report: Report, code: int, words: str) -> str:
    """Say what of a reply its user was told: at least that something was wrong."""
    assert report.text
    parts = [str(code)] if str(code) in report.text else []
    parts += ["text"] if words in report.text else []
    return " and ".join(parts) or "failure"


async def refused(case: Case, stage: str, code: int) -> str:
    words = f"no {stage} today"
    reply = smtpx.Reply(code, f"{code // 100}.7.1", words)
    case.inbox.refusal = (stage, reply)
    report = await case.send()
    assert not report.is_sent, report.text
    assert case.inbox.received == []
    return told(report, code, words)


async def one_refused(case: Case) -> str:
    case.inbox.refused = RECIPIENTS[0]
    case.inbox.refusal = ("RCPT", smtpx.Reply(550, "5.1.1", "nobody of that name"))
    report = await case.send()
    word = told(report, 550, "nobody of that name")
    if case.inbox.received:
        case.take(TRICKY, RECIPIENTS[1:])
        return f"sent to the other; {word}"
    assert not report.is_sent
    return f"sent to nobody; {word}"


async def behind_haproxy(case: Case, way: str, *, is_tls: bool = False) -> str:
    """Let the client speak to HAProxy, which speaks for it."""
    security = Security.STARTTLS if is_tls else Security.NONE
    proxied = {"proxy_networks": ("127.0.0.0/8",), "port": case.site.plain}
    async with case.server(security, **proxied):
        port = getattr(case.site.haproxy, way)
        task = Task(port, case.files, TRICKY, security)
        if way == "everything":
            task = dataclasses.replace(task, security=Security.IMPLICIT)
        report = await case.client.send(task, case.directory)
    assert report.is_sent, report.text
    header = case.take(TRICKY).info.proxy
    assert header is not None
    assert header.version == (1 if way == "version1" else 2)
    assert header.destination == (HOST, port)
    assert (header.tls is not None) == (way == "everything")
    return YES


async def own_header(case: Case) -> str:
    if "PROXY header of its own" in case.client.lacks:
        return NO
    done = []
    for version in (1, 2):
        report = await case.send(
            proxy_version=version, options={"proxy_networks": ("127.0.0.0/8",)}
        )
        assert report.is_sent, report.text
        info = case.take(TRICKY).info
        assert info.proxy is not None
        if info.proxy.version not in done:
            done.append(info.proxy.version)
        # curl tells of itself alone.
        assert info.peer_host in {PROXIED_CLIENT, HOST}
    return ", ".join(f"v{version}" for version in done)


FEATURES: dict[str, Callable[[Case], Awaitable[str]]] = {
    "in clear": in_clear,
    "STARTTLS": partial(by_tls, security=Security.STARTTLS),
    "TLS from the start": partial(by_tls, security=Security.IMPLICIT),
    "stranger's certificate refused": a_stranger_is_refused,
    "AUTH": authenticates,
    "wrong password": wrong_password,
    "8BITMIME": eight_bit,
    "SMTPUTF8": utf8_addresses,
    "DSN": notifications,
    "CHUNKING": chunks,
    "SIZE": size,
    "empty body": empty_body,
    "20 MB": large_message,
    "line of 5,000 octets": long_line,
    "LMTP": lmtp,
    **{
        f"{code} to {stage}": partial(refused, stage=stage, code=code)
        for stage, code in (
            *(("connection", 554), ("MAIL", 550), ("RCPT", 550), ("DATA", 554)),
            *(("end", 550), ("end", 451)),
            *(("connection", 421), ("RCPT", 421), ("end", 421)),
        )
    },
    "550 to one of two": one_refused,
    "HAProxy, PROXY v1": partial(behind_haproxy, way="version1"),
    "HAProxy, PROXY v2": partial(behind_haproxy, way="version2"),
    "HAProxy, STARTTLS through it": partial(
        behind_haproxy, way="version2", is_tls=True
    ),
    "HAProxy, TLS ends there": partial(behind_haproxy, way="everything"),
    "PROXY header of its own": own_header,
}


@pytest.fixture(scope="module")
def records() -> Iterator[Records]:
    found = Records("senders")
    yield found
    found.write()


@pytest.fixture(scope="module")
def site(certificates: ServerFiles) -> Iterator[Site]:
    plain, tls = free_port(), free_port()
    with (
        open_directory() as root,
        running_haproxy(
            root,
            certificates,
            plain=f"{HOST}:{plain}",
            tls=f"{HOST}:{tls}",
            unix=root / "smtp",
        ) as haproxy,
    ):
        yield Site(haproxy, plain, tls)


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", CLIENTS)
async def test_feature(
    name: str,
    feature: str,
    records: Records,
    certificates: ServerFiles,
    site: Site,
    tmp_path: Path,
) -> None:
    client = CLIENTS[name]
    word = await FEATURES[feature](Case(client, certificates, tmp_path, site))
    # What it has not, it has not for a reason.
    why = client.lacks[feature] if word == NO else ""
    records.note(client.name, client.version(), feature, word, why=why)
