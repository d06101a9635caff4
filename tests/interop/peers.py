"""The servers of others, all described in one way."""

from __future__ import annotations

import contextlib
import importlib.metadata
import queue
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP as Aiosmtpd
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as AiosmtpdSession

from tests.interop.chasquid import Chasquid
from tests.interop.maildir import Maildir, as_sent
from tests.interop.names import PASSWORD, USER
from tests.interop.postfix import Postfix
from tests.interop.programs import HOST, START_SECONDS, find_program, free_port
from tests.interop.refusals import (
    ALL,
    CONNECTION,
    Refusal,
    address_of,
    by_addresses,
    words_of,
)
from tests.interop.sink import running_sink

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.interop.certificates import ServerFiles
    from tests.interop.dovecot import Dovecot
    from tests.interop.exim import Exim
    from tests.interop.opensmtpd import OpenSMTPD

RECIPIENT = "user@example.com"
OTHER = "other@example.com"
UNKNOWN = "nosuch@example.com"


@dataclass(frozen=True)
class Peer:
    """A server that is running.

    Attributes:
        name: for people.
        version: as it tells itself.
        take: waits for the message to `RECIPIENT` with a marker in its header, and
            returns it as it was sent.
        url: in clear.
        starttls: for STARTTLS; None if it has none.
        implicit: of TLS from the start; likewise.
        auth: of who wants a password, by STARTTLS; likewise.
        unfiltered: as ``starttls``, where the other one has filters in its way.
        refusals: how to be refused by it, and at which stage.
    """

    name: str
    version: str
    take: Callable[[bytes], bytes]
    url: str
    starttls: str | None = None
    implicit: str | None = None
    auth: str | None = None
    unfiltered: str | None = None
    refusals: Mapping[str, Refusal] = field(default_factory=dict)


def version_of(*command: str) -> str:
    """Run what tells a version alone, and return it."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()[0]


def postfix_version() -> str:
    return version_of(find_program("postconf", "postfix"), "-dh", "mail_version")


def taker(maildir: Maildir) -> Callable[[bytes], bytes]:
    return lambda marker: as_sent(maildir.take(marker))


def describe(server: Postfix | Exim | OpenSMTPD | Chasquid, name: str) -> Peer:
    """Describe a server that has a port for each kind of TLS."""
    version = getattr(server, "version", None) or postfix_version()
    unfiltered = getattr(server, "unfiltered_port", None)
    return Peer(
        name,
        version,
        taker(server.user),
        f"smtp+plain://{HOST}:{server.port}",
        starttls=f"smtp+starttls://{HOST}:{server.port}",
        implicit=f"smtps://{HOST}:{server.tls_port}",
        auth=f"smtp+starttls://{HOST}:{server.auth_port}",
        unfiltered=f"smtp+starttls://{HOST}:{unfiltered}" if unfiltered else None,
        refusals=refusals_of(server),
    )


def refusals_of(server: Postfix | Exim | OpenSMTPD | Chasquid) -> dict[str, Refusal]:
    """Return what such a server refuses."""
    # Of chasquid there is a hook for the end alone.
    if isinstance(server, Chasquid):
        return by_addresses([("end", 450), ("end", 550)])
    found = by_addresses(ALL)
    # Postfix says that in its own words.
    words = "Access denied" if isinstance(server, Postfix) else words_of(CONNECTION)
    url = f"smtp+plain://{HOST}:{server.refusing_port}"
    found[f"554 to {CONNECTION}"] = Refusal(554, words, url=url)
    return found


def describe_dovecot(dovecot: Dovecot) -> Peer:
    version = version_of(find_program("dovecot", "dovecot-core"), "--version")
    return Peer(
        "Dovecot LMTP",
        version,
        taker(dovecot.user),
        f"lmtp+unix://{dovecot.lmtp_socket}",
        starttls=f"lmtp://{HOST}:{dovecot.lmtp_port}",
        refusals={
            "450 to end": Refusal(450, "4.", recipient=address_of("end", 450)),
            "550 to end": Refusal(550, "Quota", recipient=address_of("end", 550)),
        },
    )


class Keeper:
    """A handler of aiosmtpd that keeps what arrives."""

    def __init__(self) -> None:
        self.messages: queue.Queue[bytes] = queue.Queue()

    async def handle_MAIL(
        self,
        server: Aiosmtpd,
        session: AiosmtpdSession,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.refuse("MAIL", address) or "250 2.1.0 OK"

    @staticmethod
    def refuse(stage: str, address: str | None) -> str | None:
        for one, code in ALL:
            if one == stage and address == address_of(one, code):
                return f"{code} {code // 100}.7.1 {words_of(stage)}"
        return None

    async def handle_RCPT(
        self,
        server: Aiosmtpd,
        session: AiosmtpdSession,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if (refusal := self.refuse("RCPT", address)) is not None:
            return refusal
        if address == UNKNOWN:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(
        self, server: Aiosmtpd, session: AiosmtpdSession, envelope: Envelope
    ) -> str:
        if (refusal := self.refuse("end", envelope.mail_from)) is not None:
            return refusal
        assert envelope.original_content is not None
        self.messages.put(envelope.original_content)
        return "250 2.0.0 Ok"

    def take(self, marker: bytes) -> bytes:
        while True:
            message = self.messages.get(timeout=START_SECONDS)
            if marker in message:
                return message


def authenticate(
    server: Aiosmtpd,
    session: AiosmtpdSession,
    envelope: Envelope,
    mechanism: str,
    data: LoginPassword,
) -> AuthResult:
    expected = LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=data == expected, handled=False)


@contextlib.contextmanager
def running_aiosmtpd(files: ServerFiles) -> Iterator[Peer]:
    """Run aiosmtpd in a thread."""
    keeper = Keeper()
    controller = Controller(
        keeper,
        hostname=HOST,
        port=free_port(),
        server_hostname="aiosmtpd.example",
        enable_SMTPUTF8=True,
        authenticator=authenticate,
        tls_context=files.server_context(),
    )
    controller.start()
    place = f"{HOST}:{controller.port}"
    try:
        yield Peer(
            "aiosmtpd",
            importlib.metadata.version("aiosmtpd"),
            keeper.take,
            f"smtp+plain://{place}",
            starttls=f"smtp+starttls://{place}",
            auth=f"smtp+starttls://{place}",
            refusals=by_addresses(kind for kind in ALL if kind[0] != "DATA"),
        )
    finally:
        controller.stop()


@contextlib.contextmanager
def running_sink_peer() -> Iterator[Peer]:
    """Run smtp-sink; it takes mail for everybody."""
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(running_sink())
        refusals = {}
        for stage, code in ALL:
            # A server for each, with words of its own.
            option = "-Q" if code == 421 else "-r" if code < 500 else "-f"
            words = "closing" if code == 421 else "Error"
            verb = "." if stage == "end" else stage.lower()
            other = stack.enter_context(running_sink(option, verb))
            url = f"smtp+plain://{HOST}:{other.port}"
            refusals[f"{code} to {stage}"] = Refusal(code, words, url=url)
        other = stack.enter_context(running_sink("-f", "connect"))
        url = f"smtp+plain://{HOST}:{other.port}"
        refusals[f"554 to {CONNECTION}"] = Refusal(554, "Error", url=url)
        yield Peer(
            "smtp-sink",
            postfix_version(),
            sink.take,
            f"smtp+plain://{HOST}:{sink.port}",
            refusals=refusals,
        )


# What a test is parametrized by, and what people call it.
PEERS = {
    "postfix": "Postfix",
    "exim": "Exim",
    "opensmtpd": "OpenSMTPD",
    "chasquid": "chasquid",
    "dovecot": "Dovecot LMTP",
    "aiosmtpd": "aiosmtpd",
    "sink": "smtp-sink",
}


@contextlib.contextmanager
def open_peer(
    name: str, request: pytest.FixtureRequest, files: ServerFiles
) -> Iterator[Peer]:
    """Start a server, or take the one that runs for the whole session."""
    if name == "aiosmtpd":
        with running_aiosmtpd(files) as it:
            yield it
    elif name == "sink":
        with running_sink_peer() as it:
            yield it
    elif name == "dovecot":
        yield describe_dovecot(request.getfixturevalue(name))
    else:
        yield describe(request.getfixturevalue(name), PEERS[name])
