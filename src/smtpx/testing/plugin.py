"""Fixtures for pytest: mail servers with an inbox, for tests of what sends mail.

The plugin is there when smtpx is installed beside pytest. It loads nothing but itself
until a test asks for a fixture, and each test has a server of its own, on a free port:
several processes of pytest-xdist do not meet.

============================  ======================================================
``mail_server``               a `smtpx.testing.mail_server.MailServer`, for one test
``mail_inbox``                its inbox
``make_mail_server``          makes more of them: ``make_mail_server(lmtp=True)``
``mail_server_session``       one for the whole run; nothing empties it
``mail_server_options``       what kind that is: write your own in ``conftest.py``
``shared_mail_server``        the same, emptied before each test
``mail_certificates``         the throw-away certificates of all these servers
``mail_authority_file``       the authority's certificate as a file
``make_mail_script``          makes servers that say what a transcript says
``play_mail_transcript``      plays a transcript against smtpx, or against your server
``make_mail_zone``            makes DNS servers
============================  ======================================================

``@pytest.mark.mail_server(tls=True, auth={"user": "secret"})`` says what kind of server
``mail_server`` is: its arguments are those of
`smtpx.testing.mail_server.MailServerOptions`. Those at a class or module hold for its
tests, and one nearer to the test goes over them.
"""

# What the tests of a library load before coverage is measured counts as never run, so
# that the imports of smtpx stand within the fixtures.
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo, Session
    from smtpx.testing.certificates import ThrowawayCertificates
    from smtpx.testing.dns import DNSServer, Zone
    from smtpx.testing.inbox import Inbox
    from smtpx.testing.mail_server import MailServer, MailServerOptions
    from smtpx.testing.script_server import ScriptServer

_MARKER = "mail_server"


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker.

    Args:
        config: of the run.
    """
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(tls, implicit_tls, require_tls, auth, require_auth, lmtp, refuse, "
        "max_messages, server): what kind of server the fixture mail_server of smtpx "
        "is; see smtpx.testing.mail_server.MailServerOptions",
    )


@pytest.fixture(scope="session")
def mail_certificates() -> ThrowawayCertificates:
    """An authority, and a certificate for this machine, made for this run."""
    from smtpx.testing.certificates import make_certificates

    return make_certificates()


@pytest.fixture(scope="session")
def mail_authority_file(
    mail_certificates: ThrowawayCertificates, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The certificate that clients have to trust, for those that want a file."""
    path = tmp_path_factory.mktemp("smtpx") / "authority.pem"
    path.write_bytes(mail_certificates.authority_pem)
    return path


@pytest.fixture
def make_mail_server(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., MailServer]]:
    """Makes servers; each is stopped at the end of the test.

    The arguments are those of `smtpx.testing.mail_server.MailServerOptions`.
    """
    from smtpx.testing.mail_server import MailServerOptions

    with contextlib.ExitStack() as servers:

        def make(**options: Any) -> MailServer:  # noqa: ANN401 - checked by the class
            given = MailServerOptions(**options)
            return servers.enter_context(_new_server(request, given))

        yield make


@pytest.fixture
def mail_server(
    request: pytest.FixtureRequest, make_mail_server: Callable[..., MailServer]
) -> MailServer:
    """A mail server for this test, of the kind that its marker says."""
    return make_mail_server(**_marked(request))


@pytest.fixture
def mail_inbox(mail_server: MailServer) -> Inbox:
    """What ``mail_server`` received."""
    return mail_server.inbox


@pytest.fixture(scope="session")
def mail_server_options() -> MailServerOptions:
    """What kind of server ``mail_server_session`` is; a suite may override it."""
    from smtpx.testing.mail_server import MailServerOptions

    return MailServerOptions()


@pytest.fixture(scope="session")
def mail_server_session(
    request: pytest.FixtureRequest, mail_server_options: MailServerOptions
) -> Iterator[MailServer]:
    """One server for all tests of the run, for an application that starts once."""
    with _new_server(request, mail_server_options) as server:
        yield server


@pytest.fixture
def shared_mail_server(mail_server_session: MailServer) -> MailServer:
    """The server of ``mail_server_session``, with an empty inbox and no faults."""
    mail_server_session.reset()
    return mail_server_session


@pytest.fixture
def make_mail_script(
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[str], ScriptServer]]:
    """Makes servers that say to one client what a transcript says, and compare.

    At the end of the test a client that said something else fails it. See
    `smtpx.testing.transcripts` for how to write one.
    """
    from smtpx.testing.script_server import ScriptServer
    from smtpx.testing.transcripts import parse_transcript

    started: list[ScriptServer] = []

    def make(text: str) -> ScriptServer:
        script = parse_transcript(text, "script")
        tls = _certificates(request).server if script.needs_tls else None
        server = ScriptServer(script, script.steps, "script", tls)
        started.append(server)
        server.start()
        return server

    yield make
    for server in started:
        server.join()
    for server in started:
        if server.problem is not None:
            raise server.problem


@pytest.fixture
def play_mail_transcript(
    request: pytest.FixtureRequest,
) -> Callable[..., tuple[str, ...]]:
    """Plays a transcript, a text or a file; returns the names of those who played it.

    ``play_mail_transcript(script)`` plays it on all drivers against smtpx itself. With
    ``session=``, a `smtpx.Session` class or what else makes sessions, and ``options=``
    of its server, it is played against these; with ``address=`` against a server that
    runs there.
    """
    from smtpx.testing.drivers import Certificates, drivers_for, play
    from smtpx.testing.own_drivers import play_address, play_session
    from smtpx.testing.transcripts import parse_transcript, read_transcript

    def play_it(
        script: str | Path,
        *,
        session: Callable[[ConnectionInfo], Session] | None = None,
        options: ServerOptions | None = None,
        address: str | None = None,
    ) -> tuple[str, ...]:
        if (session is None and options) or (session and address):
            text = "give a session, with options or without, or an address, or neither"
            raise TypeError(text)
        if isinstance(script, Path):
            transcript = read_transcript(script)
        else:
            transcript = parse_transcript(script)
        made = _certificates(request) if transcript.needs_tls else None
        server_tls, client_tls = (made.server, made.client) if made else (None, None)
        if session is not None:
            play_session(
                transcript,
                session,
                options=options,
                server_tls=server_tls,
                client_tls=client_tls,
            )
            return ("session",)
        if address is not None:
            play_address(transcript, address, client_tls=client_tls)
            return ("address",)
        certificates = Certificates(made.server, made.client) if made else None
        names = drivers_for(transcript)
        for name in names:
            play(transcript, name, certificates)
        return names

    return play_it


@pytest.fixture
def make_mail_zone() -> Iterator[Callable[[Zone], DNSServer]]:
    """Makes DNS servers that know a zone: ``{"example.com": [("MX", "10 mx.test")]}``.

    Its ``address`` is for `ResolverOptions.nameservers`.
    """
    from smtpx.testing.dns import DNSServer
    from smtpx.testing.threads import run_in_thread

    with contextlib.ExitStack() as servers:

        def make(zone: Zone) -> DNSServer:
            return servers.enter_context(run_in_thread(DNSServer(zone)))

        yield make


# ---------------------------------------------------------------------------- inside


def _certificates(request: pytest.FixtureRequest) -> ThrowawayCertificates:
    """Make the certificates now that a test needs them."""
    certificates: ThrowawayCertificates = request.getfixturevalue("mail_certificates")
    return certificates


def _new_server(
    request: pytest.FixtureRequest, options: MailServerOptions
) -> MailServer:
    from smtpx.testing.mail_server import MailServer

    return MailServer(options, make_certificates=lambda: _certificates(request))


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Collect what the markers of a test say, the nearest last."""
    import dataclasses

    from smtpx.testing.mail_server import MailServerOptions

    found: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(_MARKER))):
        names = [field.name for field in dataclasses.fields(MailServerOptions)]
        strange = [str(each) for each in (*mark.args, *(mark.kwargs.keys() - {*names}))]
        if strange:
            text = (
                f"the marker {_MARKER} does not know {', '.join(strange)}: give "
                f"arguments by name, of {', '.join(names)}"
            )
            raise pytest.UsageError(text)
        found |= mark.kwargs
    return found
