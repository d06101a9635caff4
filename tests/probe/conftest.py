from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from smtpx.client.options import parse_url
from smtpx.probe.bench import Bench, ProbeOptions
from smtpx.probe.registry import choose, probe
from tests.probe.flawed_server import HOST, FlawedServer, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.probe.registry import Result

RECIPIENT = "user@example.com"
# Every reply comes, and sooner than this on a busy machine too; but where a test
# is about silence.
TIMEOUT_SECONDS = 60.0


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST).configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def examine(client_context: ssl.SSLContext) -> Callable[..., Result]:
    """Make one check of a server of some kind."""

    def examine(name: str, kind: Kind, options: ProbeOptions | None = None) -> Result:
        if options is None:
            options = ProbeOptions(
                recipient=RECIPIENT,
                relay_check=True,
                tls_context=client_context,
                timeout=TIMEOUT_SECONDS,
            )
        scheme = "lmtp" if kind.is_lmtp else "smtp"
        with FlawedServer(kind) as server:
            bench = Bench(parse_url(f"{scheme}://{HOST}:{server.port}"), options)
            [result] = probe(bench, choose([name]))
        return result

    return examine
