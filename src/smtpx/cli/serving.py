"""What ``smtpx serve`` does: listen, store or show what comes, and stop gently."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smtpx.app.passwords import PasswordFile
from smtpx.app.sinks import EmlSink, MaildirSink, PrintSink, Sink
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.cli.running import (
    announce,
    cannot_listen,
    listeners_for,
    run_until_stopped,
    server_tls,
)
from smtpx.cli.screen import Screen
from smtpx.cli.storing import Inbox
from smtpx.core.limits import Limits
from smtpx.errors import BadSyntax
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.workers import Supervisor, find_loop
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from smtpx.server.sockets import Listener

__all__ = ["ServeArguments", "run_servers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeArguments:
    """The command line of ``smtpx serve``, parsed."""

    addresses: tuple[str, ...]
    maildir: Path | None
    eml: Path | None
    accept: tuple[str, ...]
    trace: bool
    hostname: str | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_poll: float | None
    require_tls: bool
    auth_file: Path | None
    require_auth: bool
    max_size: int
    max_recipients: int
    grace: float
    workers: int | None
    uvloop: bool
    wire_log: bool
    quiet: bool

    @property
    def urls(self) -> tuple[str, ...]:
        """Where to listen."""
        return self.addresses or ("127.0.0.1:2525",)


def run_servers(arguments: ServeArguments) -> None:
    """Serve until a signal comes.

    Args:
        arguments: the command line, checked.

    Raises:
        Failure: an address, a file or a folder cannot be used.
    """
    if arguments.workers is not None:
        _run_workers(arguments)
        return
    loop_factory = find_loop() if arguments.uvloop else None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve(arguments))


async def _serve(arguments: ServeArguments) -> None:
    """Serve within this process."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(
                _serving(arguments, listeners_for(arguments.urls))
            )
        except OSError as error:
            raise cannot_listen(error) from None
        announce(server.listening)
        screen = Screen(is_quiet=arguments.quiet)
        await run_until_stopped(server, arguments.grace, screen)


def _run_workers(arguments: ServeArguments) -> None:
    """Serve with several processes."""
    listeners = listeners_for(arguments.urls)
    # What is wrong with the command line is told here, once, and not by each worker.
    asyncio.run(_try(arguments))
    supervisor = Supervisor(
        functools.partial(_serving, arguments),
        listeners,
        workers=arguments.workers,
        grace=arguments.grace,
        uvloop=arguments.uvloop,
        serving=lambda _: announce(supervisor.listening),
    )
    try:
        supervisor.run()
    except OSError as error:
        raise cannot_listen(error) from None
    except RuntimeError as error:
        raise Failure(ExitCode.SOFTWARE, str(error)) from None


async def _try(arguments: ServeArguments) -> None:
    async with _opened(arguments) as inbox:
        _server_options(arguments, inbox.screen)


@contextlib.asynccontextmanager
async def _serving(
    arguments: ServeArguments, listeners: Sequence[Listener]
) -> AsyncIterator[Server]:
    """Open what messages go to, and serve; for a worker as well."""
    async with _opened(arguments) as inbox:
        options = _server_options(arguments, inbox.screen)
        async with Server(inbox.open_session, listeners, options=options) as server:
            yield server


@contextlib.asynccontextmanager
async def _opened(arguments: ServeArguments) -> AsyncIterator[Inbox]:
    screen = Screen(is_quiet=arguments.quiet)
    logging.basicConfig(format="smtpx: %(message)s", level=logging.WARNING)
    async with contextlib.AsyncExitStack() as stack:
        passwords = _open_passwords(arguments)
        if passwords is not None:
            stack.push_async_callback(passwords.close)
        sink = _open_sink(arguments, screen)
        stack.push_async_callback(sink.close)
        yield Inbox(
            sink,
            screen,
            accept=_accepted(arguments.accept),
            passwords=passwords,
            has_trace=arguments.trace,
        )


def _server_options(arguments: ServeArguments, screen: Screen) -> ServerOptions:
    limits = Limits(
        max_message_octets=arguments.max_size, max_recipients=arguments.max_recipients
    )

    def show(session: str, line: str) -> None:
        screen.dialogue(line, session)

    return ServerOptions(
        hostname=arguments.hostname or "",
        tls=server_tls(
            arguments.tls_cert, arguments.tls_key, poll_seconds=arguments.tls_poll
        ),
        require_tls=arguments.require_tls,
        require_auth=arguments.require_auth,
        smtputf8=True,
        limits=limits,
        wire_log=show if arguments.wire_log else None,
    )


def _open_passwords(arguments: ServeArguments) -> PasswordFile | None:
    if arguments.auth_file is None:
        return None
    try:
        return PasswordFile(arguments.auth_file)
    except ValueError as error:
        raise Failure(ExitCode.DATA, f"{arguments.auth_file}: {error}") from None


def _open_sink(arguments: ServeArguments, screen: Screen) -> Sink:
    try:
        if arguments.maildir is not None:
            return MaildirSink(arguments.maildir.expanduser())
        if arguments.eml is not None:
            return EmlSink(arguments.eml.expanduser())
    except OSError as error:
        raise Failure(
            ExitCode.CANNOT_CREATE, f"cannot make the folder: {explain(error)}"
        ) from None
    return PrintSink(screen.result)


def _accepted(words: tuple[str, ...]) -> frozenset[str]:
    """Parse domains and mailboxes to accept."""
    for word in words:
        try:
            Mailbox.parse(word if "@" in word else f"x@{word}")
        except BadSyntax as error:
            raise click.UsageError(f"--accept {word!r}: {error.text}") from None
    return frozenset(word.lower() for word in words)
