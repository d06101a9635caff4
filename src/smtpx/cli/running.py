"""How servers run in a shell: addresses, certificates, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from smtpx.cli.failures import ExitCode, Failure
from smtpx.cli.screen import can_ask
from smtpx.net.certificates import Certificate, ServerTLS
from smtpx.server.listener import Server
from smtpx.server.sockets import Listener, inherited_sockets, parse_address

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from smtpx.cli.screen import Screen
    from smtpx.server.options import ServerOptions
    from smtpx.server.session import ConnectionInfo, Session

__all__ = [
    "announce",
    "cannot_listen",
    "listen",
    "listeners_for",
    "parse_listen_url",
    "run_until_stopped",
    "server_tls",
]

logger = logging.getLogger("smtpx.cli")

# TLS from the start, as `parse_url` takes smtp://host:465 for clients.
_SUBMISSIONS_PORT: Final = 465


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is spoken at an address."""

    is_lmtp: bool = False
    is_implicit_tls: bool = False
    is_unix: bool = False
    is_inherited: bool = False
    requires_tls: bool = False

    @property
    def needs_tls(self) -> bool:
        """Whether nothing goes without a certificate there."""
        return self.is_implicit_tls or self.requires_tls


_KINDS: Final = {
    "smtp": _Kind(),
    "smtps": _Kind(is_implicit_tls=True),
    "smtp+starttls": _Kind(requires_tls=True),
    "smtp+unix": _Kind(is_unix=True),
    "lmtp": _Kind(is_lmtp=True),
    "lmtp+unix": _Kind(is_lmtp=True, is_unix=True),
    "smtp+systemd": _Kind(is_inherited=True),
    "smtps+systemd": _Kind(is_implicit_tls=True, is_inherited=True),
    "lmtp+systemd": _Kind(is_lmtp=True, is_inherited=True),
}


def parse_listen_url(text: str) -> tuple[_Kind, str]:
    """Parse an address to listen on.

    Args:
        text: such as ``smtps://0.0.0.0:465``, ``lmtp+unix:///run/lmtp`` or
            ``localhost:2525``.

    Returns:
        What is spoken there, and the address for `Server`; of sockets that systemd
        bound, their name.

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
        elif text.startswith("systemd:"):
            name, address = "smtp+systemd", text.removeprefix("systemd:")
    kind = _KINDS.get(name.lower())
    if kind is None:
        known = ", ".join(f"{one}://" for one in _KINDS)
        raise click.UsageError(f"{text!r} begins with none of {known}")
    if kind.is_inherited:
        return kind, address
    if kind.is_unix:
        if not address.startswith("/"):
            raise click.UsageError(f"write {name}:///path/of/the/socket")
        return kind, f"unix:{address}"
    try:
        _, port = parse_address(address.removesuffix("/"))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if port == _SUBMISSIONS_PORT and kind == _KINDS["smtp"]:
        kind = _KINDS["smtps"]
    return kind, address.removesuffix("/")


def listeners_for(urls: Sequence[str]) -> list[Listener]:
    """Return where to listen, and what is spoken there.

    Args:
        urls: as for `parse_listen_url`.

    Raises:
        Failure: systemd did not hand over such a socket.
    """
    listeners = []
    for text in urls:
        kind, address = parse_listen_url(text)
        places: Sequence[str | socket.socket] = [address]
        if kind.is_inherited:
            places = inherited_sockets(address or None)
            if not places:
                raise Failure(
                    ExitCode.OS_ERROR,
                    f"{text}: systemd handed over no such socket; name it by "
                    "FileDescriptorName= in the .socket unit",
                )
        listeners += [
            Listener(
                place,
                lmtp=kind.is_lmtp,
                implicit_tls=kind.is_implicit_tls,
                require_tls=kind.requires_tls or None,
            )
            for place in places
        ]
    return listeners


def announce(listening: Iterable[tuple[str, Listener]]) -> None:
    """Tell where it listens: all of it, once all listen.

    Scripts wait for these lines, so they are flushed, and shown even with --quiet.

    Args:
        listening: each address, and the listener it came of.
    """
    for address, listener in listening:
        name = "LMTP" if listener.lmtp else "SMTP"
        name = "SMTP and LMTP" if listener.lmtp_too else name
        tls = " with STARTTLS" if listener.require_tls else ""
        tls = " with TLS" if listener.implicit_tls else tls
        click.echo(f"listening on {address} ({name}{tls})")
    sys.stdout.flush()


async def listen(
    urls: Sequence[str],
    session_factory: Callable[[ConnectionInfo], Session],
    options: ServerOptions,
    stack: contextlib.AsyncExitStack,
) -> Server:
    """Start a server, and tell where it listens.

    Args:
        urls: where, as for `parse_listen_url`.
        session_factory: as for `Server`.
        options: but for what the addresses say.
        stack: closes the server.

    Raises:
        Failure: an address cannot be used.
    """
    server = Server(session_factory, listeners_for(urls), options=options)
    try:
        await stack.enter_async_context(server)
    except OSError as error:
        raise cannot_listen(error) from None
    announce(server.listening)
    return server


def server_tls(
    certificate: Path | None, key: Path | None, *, poll_seconds: float | None = None
) -> ServerTLS | None:
    """Return what offers TLS, None without a certificate.

    Args:
        certificate: and its chain, PEM.
        key: of it, PEM; None if it is in the same file.
        poll_seconds: look this often whether they have changed.

    Raises:
        Failure: the files are none such.
    """
    if certificate is None:
        return None
    try:
        return ServerTLS(Certificate(certificate, key), poll_seconds=poll_seconds)
    except OSError as error:
        raise Failure(
            ExitCode.NO_INPUT,
            f"--tls-cert {error.strerror or error}: give PEM files, the key with "
            "--tls-key",
        ) from None


def cannot_listen(error: OSError) -> Failure:
    """Say why an address cannot be used, and what to do.

    Args:
        error: that came of it.
    """
    where, _, reason = (error.strerror or str(error)).rpartition(": ")
    if isinstance(error, PermissionError):
        reason = "permission denied: ports below 1024 need root; take a higher one"
    elif "in use" in reason.lower():
        reason = "the address is in use: stop what listens there, or take another one"
    return Failure(ExitCode.OS_ERROR, f"cannot listen on {where}: {reason}")


async def run_until_stopped(server: Server, grace: float, screen: Screen) -> None:
    """Run until a signal comes; then let transactions finish, or not with another one.

    SIGHUP reads certificates again.

    Args:
        server: that listens.
        grace: for how long transactions may go on, in seconds.
        screen: tells what happens.
    """
    async with contextlib.AsyncExitStack() as stack:
        stop, stop_now = _catch_signals(stack, server)
        await stop.wait()
        if not screen.is_quiet:
            screen.note("stopping; once more to stop now")
        await _shut_down(server, grace, stop_now)


def _catch_signals(
    stack: contextlib.AsyncExitStack, server: Server
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
    # A terminal that is closed sends it too, and means the end of what ran there.
    if server.options.tls is not None and not can_ask() and hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, _reload_tls, server)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)
    return stop, stop_now


def _reload_tls(server: Server) -> None:
    try:
        server.reload_tls()
    except OSError as error:
        logger.warning("the certificate stays as it was: %s", error.strerror or error)


async def _shut_down(server: Server, grace: float, stop_now: asyncio.Event) -> None:
    """Let transactions finish, within limits of time and patience."""
    gentle = asyncio.create_task(server.shutdown(grace))
    patience = asyncio.create_task(stop_now.wait())
    either: list[asyncio.Future[Any]] = [gentle, patience]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    patience.cancel()
    if not gentle.done():
        await server.close()
    await gentle
