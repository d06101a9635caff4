"""What ``smtpx serve`` does: listen, store or show what comes, and stop gently."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sys
from dataclasses import dataclass, field
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
from smtpx.cli.watching import log_events, serve_metrics
from smtpx.core.limits import Limits
from smtpx.errors import BadSyntax
from smtpx.server.delays import ErrorDelay, GreetingDelay
from smtpx.server.limiters import MemoryRateLimiter, RedisRateLimiter
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.rate_guard import RateGuard
from smtpx.server.worker import find_loop
from smtpx.server.workers import Supervisor
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from smtpx.server.events import EventSink
    from smtpx.server.rate_guard import RateRule
    from smtpx.server.rates import RateLimiter
    from smtpx.server.sockets import Listener

__all__ = ["ServeArguments", "run_servers", "server_options"]


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
    require_tls_for_auth: bool
    max_size: int
    max_recipients: int
    max_connections: int
    max_connections_per_ip: int
    max_connections_per_network: int
    rates: tuple[RateRule, ...]
    redis: str | None = field(repr=False)
    redis_policy: str | None
    greeting_delay: float | None
    error_delay: float | None
    proxy_from: tuple[str, ...]
    xclient_from: tuple[str, ...]
    xforward_from: tuple[str, ...]
    plaintext_from: tuple[str, ...]
    unlimited_from: tuple[str, ...]
    log_events: bool
    metrics: tuple[str, int] | None
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
    listeners = listeners_for(arguments.urls)
    async with contextlib.AsyncExitStack() as stack:
        metrics = None
        if arguments.metrics is not None:
            metrics = stack.enter_context(serve_metrics(arguments.metrics))
        sinks = () if metrics is None else (metrics.sink,)
        try:
            server = await stack.enter_async_context(
                _serving(arguments, listeners, sinks)
            )
        except OSError as error:
            raise cannot_listen(error) from None
        announce(server.listening)
        if metrics is not None:
            click.echo(f"metrics on {metrics.url}")
            sys.stdout.flush()
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
        server_options(arguments, inbox.screen)


@contextlib.asynccontextmanager
async def _serving(
    arguments: ServeArguments,
    listeners: Sequence[Listener],
    sinks: tuple[EventSink, ...] = (),
) -> AsyncIterator[Server]:
    """Open what messages go to, and serve; for a worker as well."""
    async with _opened(arguments) as inbox:
        if arguments.log_events:
            sinks = (log_events(), *sinks)
        options = server_options(arguments, inbox.screen, sinks)
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


def server_options(
    arguments: ServeArguments, screen: Screen, sinks: tuple[EventSink, ...] = ()
) -> ServerOptions:
    """Return the options of the server.

    Args:
        arguments: the command line, checked.
        screen: shows dialogues.
        sinks: what gets the events.

    Raises:
        Failure: a file cannot be used.
        ImportError: an extra is not installed.
    """
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
        require_tls_for_auth=arguments.require_tls_for_auth,
        # Whoever asks for it means all; --plaintext-from can let loopback pass.
        local_plaintext_auth=not arguments.require_tls_for_auth,
        plaintext_networks=arguments.plaintext_from,
        require_auth=arguments.require_auth,
        smtputf8=True,
        limits=limits,
        max_connections=arguments.max_connections,
        max_connections_per_ip=arguments.max_connections_per_ip,
        max_connections_per_network=arguments.max_connections_per_network,
        proxy_networks=arguments.proxy_from,
        xclient_networks=arguments.xclient_from,
        xforward_networks=arguments.xforward_from,
        unlimited_networks=arguments.unlimited_from,
        greeting_delay=_greeting_delay(arguments.greeting_delay),
        error_delay=_error_delay(arguments.error_delay),
        guards=_guards(arguments),
        wire_log=show if arguments.wire_log else None,
        events=sinks,
    )


def _greeting_delay(seconds: float | None) -> GreetingDelay | None:
    return None if seconds is None else GreetingDelay(seconds)


def _error_delay(seconds: float | None) -> ErrorDelay | None:
    if seconds is None:
        return None
    return ErrorDelay(seconds, max_seconds=max(seconds, ErrorDelay().max_seconds))


def _guards(arguments: ServeArguments) -> tuple[RateGuard, ...]:
    """Return who is asked about clients: at most one, that counts."""
    if not arguments.rates:
        return ()
    limiter: RateLimiter
    if arguments.redis is None:
        limiter = MemoryRateLimiter()
    else:
        try:
            limiter = RedisRateLimiter(arguments.redis)
        except ValueError:
            # Not what the error says, which may be a part of the password.
            raise click.UsageError(
                "--redis is no URL of Redis: write redis://HOST:6379/0"
            ) from None
    fails_open = arguments.redis_policy != "closed"
    return (RateGuard(limiter, arguments.rates, fails_open=fails_open),)


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
        except BadSyntax:
            raise click.UsageError(
                f"--accept {word!r} is neither a domain nor an address: write "
                "example.com or ann@example.com"
            ) from None
    return frozenset(word.lower() for word in words)
