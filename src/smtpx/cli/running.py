"""How servers run in a shell: addresses, the event loop, signals."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import signal
import ssl
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from smtpx.cli.failures import ExitCode, Failure
from smtpx.server.listener import Server
from smtpx.server.sockets import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from smtpx.cli.screen import Screen
    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo, Session

__all__ = ["find_loop", "listen", "parse_listen_url", "run_until_stopped", "server_tls"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is spoken at an address."""

    is_lmtp: bool = False
    is_implicit_tls: bool = False
    is_unix: bool = False


_KINDS: Final = {
    "smtp": _Kind(),
    "smtps": _Kind(is_implicit_tls=True),
    "smtp+unix": _Kind(is_unix=True),
    "lmtp": _Kind(is_lmtp=True),
    "lmtp+unix": _Kind(is_lmtp=True, is_unix=True),
}


def parse_listen_url(text: str) -> tuple[_Kind, str]:
    """Parse an address to listen on.

    Args:
        text: such as ``smtps://0.0.0.0:465``, ``lmtp+unix:///run/lmtp`` or
            ``localhost:2525``.

    Returns:
        What is spoken there, and the address for `Server`.

    Raises:
        click.UsageError: it is none.

    >>> parse_listen_url("localhost:2525")[1]
    'localhost:2525'
    """
    name, separator, address = text.partition("://")
    if not separator:
        name, address = "smtp", text
        if text.startswith("unix:"):
            name, address = "smtp+unix", text.removeprefix("unix:")
    kind = _KINDS.get(name.lower())
    if kind is None:
        known = ", ".join(f"{one}://" for one in _KINDS)
        raise click.UsageError(f"{text!r} begins with none of {known}")
    if kind.is_unix:
        if not address.startswith("/"):
            raise click.UsageError(f"write {name}:///path/of/the/socket")
        return kind, f"unix:{address}"
    try:
        parse_address(address.removesuffix("/"))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return kind, address.removesuffix("/")


def find_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes a faster event loop, None if it is not installed."""
    for name in ("uvloop", "winloop"):
        if importlib.util.find_spec(name):
            # The factory, never the policy: that would change loops of others.
            factory: Callable[[], asyncio.AbstractEventLoop] = importlib.import_module(
                name
            ).new_event_loop
            return factory
    return None


async def listen(
    urls: Sequence[str],
    session_factory: Callable[[ConnectionInfo], Session],
    options: ServerOptions,
    stack: contextlib.AsyncExitStack,
) -> list[Server]:
    """Start a server for each kind of address, and tell where it listens.

    Args:
        urls: where, as for `parse_listen_url`.
        session_factory: as for `Server`.
        options: for all of them, but for what the addresses say.
        stack: closes the servers.

    Raises:
        Failure: an address cannot be used.
    """
    addresses: dict[_Kind, list[str]] = {}
    for text in urls:
        kind, address = parse_listen_url(text)
        addresses.setdefault(replace(kind, is_unix=False), []).append(address)
    servers = []
    for kind, group in addresses.items():
        of_kind = replace(options, lmtp=kind.is_lmtp, implicit_tls=kind.is_implicit_tls)
        server = Server(session_factory, group, options=of_kind)
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            raise Failure(
                ExitCode.OS_ERROR, f"cannot listen on {' '.join(group)}: {_why(error)}"
            ) from None
        servers.append(server)
    # All of them, once all listen. Scripts wait for these lines, so they are flushed,
    # and shown even with --quiet.
    for server in servers:
        name = "LMTP" if server.options.lmtp else "SMTP"
        tls = " with TLS" if server.options.implicit_tls else ""
        for bound in server.addresses:
            click.echo(f"listening on {bound} ({name}{tls})")
    sys.stdout.flush()
    return servers


def server_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what offers TLS, None without a certificate.

    Args:
        certificate: and its chain, PEM.
        key: of it, PEM; None if it is in the same file.

    Raises:
        Failure: the files are none such.
    """
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 8996 retires the versions before it.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise Failure(
            ExitCode.NO_INPUT,
            f"--tls-cert {certificate}: no certificate with its key "
            f"({error.strerror or error}): give PEM files, the key with --tls-key",
        ) from None
    return context


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "permission denied: ports below 1024 need root; take a higher one"
    if error.errno is not None and "in use" in str(error).lower():
        return "the address is in use: stop what listens there, or take another one"
    return error.strerror or str(error)


async def run_until_stopped(
    servers: Sequence[Server], grace: float, screen: Screen
) -> None:
    """Run until a signal comes; then let transactions finish, or not with another one.

    Args:
        servers: that listen.
        grace: for how long transactions may go on, in seconds.
        screen: tells what happens.
    """
    async with contextlib.AsyncExitStack() as stack:
        stop, stop_now = _catch_signals(stack)
        await stop.wait()
        if not screen.is_quiet:
            screen.note("stopping; once more to stop now")
        await _shut_down(servers, grace, stop_now)


def _catch_signals(
    stack: contextlib.AsyncExitStack,
) -> tuple[asyncio.Event, asyncio.Event]:
    """Return what SIGINT and SIGTERM set: one at first, then the other."""
    stop, stop_now = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        (stop_now if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, on_signal)
        except NotImplementedError:  # Windows
            previous = signal.signal(
                number, lambda *_: loop.call_soon_threadsafe(on_signal)
            )
            stack.callback(signal.signal, number, previous)
        else:
            stack.callback(loop.remove_signal_handler, number)
    return stop, stop_now


async def _shut_down(
    servers: Sequence[Server], grace: float, stop_now: asyncio.Event
) -> None:
    """Let transactions finish, within limits of time and patience."""
    gentle = asyncio.gather(*(server.shutdown(grace) for server in servers))
    patience = asyncio.create_task(stop_now.wait())
    either: list[asyncio.Future[Any]] = [gentle, patience]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    patience.cancel()
    if not gentle.done():
        for server in servers:
            await server.close()
    await gentle
