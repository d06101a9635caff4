"""Sockets to listen on: where, who may connect, and what is served there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import socket
import stat
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from smtpx.net.channel import format_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.server.options import ServerOptions

__all__ = [
    "SMTP_PORT",
    "UNIX_PREFIX",
    "Address",
    "BoundSocket",
    "Listener",
    "bind_listener",
    "inherited_sockets",
    "listeners_of",
    "parse_address",
]

UNIX_PREFIX: Final = "unix:"

#: The port between mail servers (RFC 5321 section 4.5.4.2), where LMTP must not be.
SMTP_PORT: Final = 25

_UNIX: Final = getattr(socket, "AF_UNIX", None)

# The first descriptor that is handed over (sd_listen_fds(3)).
_FIRST_INHERITED: Final = 3


@dataclass(frozen=True, slots=True)
class Listener:
    """A place to listen at, with what is different there from the server's options.

    Attributes:
        address: ``"host:port"``, ``"[::1]:port"``, ``":port"`` (all interfaces),
            ``"unix:/path"``, ``"unix:@name"`` (Linux's abstract namespace), or a stream
            socket that is bound already. The server closes it at its end.
        implicit_tls: as in ``ServerOptions``, here; None: as there.
        require_tls: the same.
        require_auth: the same.
        lmtp: the same; it goes over ``lmtp_too`` of the server as well.
        lmtp_too: the same; it goes over ``lmtp`` of the server as well.
        backlog: the same.
        proxy_networks: the same, for a listener that is for proxies only, or for none.
        reuse_port: let other processes listen on this TCP port too, each with a queue
            of its own. What is in the queue of one that ends is lost, so rather share
            one socket: see ``run_workers``.
        dual_stack: have an IPv6 socket serve IPv4 clients too.
        mode: permissions of the unix socket's file, such as ``0o660``. Clients need
            the right to write. None: what the process' umask leaves.
        owner: of that file, a name or a number; None: this process'.
        group: of that file, likewise.

    Raises:
        ValueError: the address is none, or an option does not fit it.

    >>> import smtpx
    >>> smtpx.Listener("0.0.0.0:465", implicit_tls=True).address
    '0.0.0.0:465'
    """

    address: str | socket.socket
    _: KW_ONLY
    implicit_tls: bool | None = None
    require_tls: bool | None = None
    require_auth: bool | None = None
    lmtp: bool | None = None
    lmtp_too: bool | None = None
    backlog: int | None = None
    proxy_networks: tuple[str, ...] | None = None
    reuse_port: bool = False
    dual_stack: bool = False
    mode: int | None = None
    owner: str | int | None = None
    group: str | int | None = None

    def __post_init__(self) -> None:
        address = self.address
        path = _unix_path(address)
        if isinstance(address, str) and path is None:
            parse_address(address)
        if path is None or path.startswith("\0"):
            for name in ("mode", "owner", "group"):
                if getattr(self, name) is not None:
                    message = f"{name} is for a unix socket with a path, not {address}"
                    raise ValueError(message)
        is_tcp = isinstance(address, str) and path is None
        if not is_tcp and (self.reuse_port or self.dual_stack):
            message = f"reuse_port and dual_stack are for host:port, not {address}"
            raise ValueError(message)

    def options_here(self, options: ServerOptions) -> ServerOptions:
        """Return the options of a server as they are at this listener.

        Args:
            options: the server's.

        Raises:
            ValueError: they contradict each other, or it is LMTP on port 25.
        """
        given = {name: getattr(self, name) for name in _OVERRIDES}
        # What is said here of the protocol is all that counts.
        if self.lmtp:
            given["lmtp_too"] = self.lmtp_too or False
        elif self.lmtp_too:
            given["lmtp"] = False
        changes = {
            name: value
            for name, value in given.items()
            if value is not None and value != getattr(options, name)
        }
        here = replace(options, **changes) if changes else options
        if (here.lmtp or here.lmtp_too) and _port_of(self.address) == SMTP_PORT:
            raise ValueError(
                "LMTP must not be used on port 25 (RFC 2033 section 5): a server that "
                "queues mail would send it there; choose another port"
            )
        return here


_OVERRIDES: Final = (
    *("implicit_tls", "require_tls", "require_auth", "lmtp", "lmtp_too", "backlog"),
    "proxy_networks",
)


#: Where to listen; a text or a socket is a `Listener` with nothing special.
Address: TypeAlias = str | socket.socket | Listener


def listeners_of(address: Address | Sequence[Address]) -> list[Listener]:
    """Return the listeners that were given in any form.

    Args:
        address: one, or several.

    Raises:
        ValueError: there is none, or one is wrong.
    """
    given: Sequence[Address]
    given = (
        [address] if isinstance(address, str | socket.socket | Listener) else address
    )
    _refuse_a_number(address)
    if not given:
        raise ValueError("a server needs an address to listen on")
    return [one if isinstance(one, Listener) else Listener(one) for one in given]


def _refuse_a_number(address: object) -> None:
    """Tell what to write in place of a port alone, which others take."""
    if isinstance(address, int):
        raise TypeError(
            f"a port alone is no address: write '127.0.0.1:{address}', or ':{address}' "
            "for every interface"
        )


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """A socket that is bound, and listens.

    Attributes:
        sock: it; it does not block.
        name: its address, for people.
        listener: what it was made for.
        is_ours: we made it, so nobody else accepts from it.
        file: its file, and what tells that file from others, to be removed at the end.
    """

    sock: socket.socket
    name: str
    listener: Listener
    is_ours: bool
    file: tuple[Path, tuple[int, ...]] | None = None

    @property
    def local_name(self) -> str | None:
        """The address that all its connections have here; None if they differ."""
        address = self.sock.getsockname()
        if self.sock.family == _UNIX:
            return self.name
        return None if address[0] in {"0.0.0.0", "::"} else self.name  # noqa: S104

    def remove_file(self) -> None:
        """Remove the file of a unix socket, unless another server took its place."""
        if self.file is None:
            return
        path, identity = self.file
        with contextlib.suppress(OSError):
            if _identity_of(path) == identity:
                path.unlink()


async def bind_listener(listener: Listener, backlog: int) -> list[BoundSocket]:
    """Make the sockets of a listener: a name can stand for several addresses.

    Args:
        listener: where.
        backlog: how many connections wait for ``accept``.

    Raises:
        OSError: an address cannot be used; then none is.
    """
    address = listener.address
    if isinstance(address, socket.socket):
        address.setblocking(False)
        _send_at_once(address)
        address.listen(backlog)
        name = format_address(address.getsockname())
        return [BoundSocket(address, name, listener, is_ours=False)]
    path = _unix_path(address)
    if path is not None:
        return [_bind_unix(listener, path, backlog)]
    host, port = parse_address(address)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    made: list[BoundSocket] = []
    try:
        for family, _, _, _, where in dict.fromkeys(found):
            # A name may have an IPv6 address on a system without IPv6.
            if family in {socket.AF_INET, socket.AF_INET6} and _has(family):
                made.append(_bind_tcp(listener, family, where, backlog))
    except BaseException:
        for bound in made:
            bound.sock.close()
        raise
    if not made:
        raise OSError(errno.EADDRNOTAVAIL, f"{address} has no usable address")
    return made


def _send_at_once(sock: socket.socket) -> None:
    """Hold back no segment for an acknowledgement (Nagle); accepted sockets inherit it.

    A second reply would come 40 ms late. asyncio sees to it only where a socket was
    made with the number of its protocol, which many are not.
    """
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def parse_address(address: str) -> tuple[str | None, int]:
    """Split ``host:port``.

    Args:
        address: an IPv6 address stands in brackets; an empty host is every interface.

    Returns:
        The host, None for all interfaces, and the port.

    Raises:
        ValueError: there is no port, or it is no number from 0 to 65535.

    >>> parse_address("[::1]:2525"), parse_address(":25")
    (('::1', 2525), (None, 25))
    """
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        message = (
            f"{address!r} is no address to listen on: write host:port, [IPv6]:port, "
            f"or {UNIX_PREFIX}/path"
        )
        raise ValueError(message)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        message = f"put the IPv6 address in {address!r} in brackets: [{host}]:{port}"
        raise ValueError(message)
    return host or None, int(port)


def inherited_sockets(name: str | None = None) -> list[socket.socket]:
    """Take the sockets that systemd bound for this process (sd_listen_fds(3)).

    They are taken once: a second call returns none, nor do child processes get them.

    Args:
        name: take those that have this ``FileDescriptorName`` only, and leave the
            others to the next call; None: all that are left.

    Returns:
        The sockets, in systemd's order; none if the process was not started so.

    >>> inherited_sockets()
    []
    """
    environment = os.environ
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environment.get("LISTEN_FDS", "0"))
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (count - len(names))
    taken, left = [], []
    for number in range(count):
        # What was taken before is marked by a name that systemd does not allow.
        if names[number] != _TAKEN and name in {None, names[number]}:
            sock = socket.socket(fileno=_FIRST_INHERITED + number)
            sock.set_inheritable(False)
            taken.append(sock)
            names[number] = _TAKEN
        elif names[number] != _TAKEN:
            left.append(number)
    if left:
        environment["LISTEN_FDNAMES"] = ":".join(names)
    else:
        for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            environment.pop(variable, None)
    return taken


_TAKEN: Final = "\x01"

# ------------------------------------------------------------------------------- inside


def _unix_path(address: str | socket.socket) -> str | None:
    """Return what a unix socket is bound to; None of another."""
    if not isinstance(address, str) or not address.startswith(UNIX_PREFIX):
        return None
    path = address.removeprefix(UNIX_PREFIX)
    if not path.strip("@"):
        message = f"{address!r} is no address: write {UNIX_PREFIX}/path"
        raise ValueError(message)
    return "\0" + path[1:] if path.startswith("@") else path


def _port_of(address: str | socket.socket) -> int | None:
    """Return the TCP port of an address; None of a unix socket."""
    if isinstance(address, socket.socket):
        name = address.getsockname()
        return int(name[1]) if isinstance(name, tuple) else None
    return None if _unix_path(address) is not None else parse_address(address)[1]


def _has(family: int) -> bool:
    try:
        socket.socket(family, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def _bind_tcp(
    listener: Listener, family: int, where: tuple[object, ...], backlog: int
) -> BoundSocket:
    # asyncio switches Nagle's algorithm off only where a socket says that it is TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        _send_at_once(sock)
        if os.name == "posix":
            # Else a restart waits for the connections of before; on Windows it means
            # that somebody else may take the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            is_only = not listener.dual_stack
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, is_only)
        sock.bind(where)
        return _listen(sock, listener, backlog)
    except OSError as error:
        sock.close()
        where_text = format_address(where)
        raise OSError(error.errno, f"{where_text}: {error.strerror}") from None
    except BaseException:
        sock.close()
        raise


def _bind_unix(listener: Listener, path: str, backlog: int) -> BoundSocket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("\0"):
            sock.bind(path)
            return _listen(sock, listener, backlog)
        file = Path(path)
        _remove_stale(file)
        sock.bind(path)
        # Nobody can connect before `listen`, so nobody does by permissions that were
        # not meant. A umask would be that of all threads.
        if listener.mode is not None:
            file.chmod(listener.mode)
        if listener.owner is not None or listener.group is not None:
            _give_to(file, listener.owner, listener.group)
        bound = _listen(sock, listener, backlog)
        return replace(bound, file=(file, _identity_of(file)))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"{listener.address}: {error.strerror}") from None
    except BaseException:
        sock.close()
        raise


def _listen(sock: socket.socket, listener: Listener, backlog: int) -> BoundSocket:
    sock.setblocking(False)
    sock.listen(backlog)
    name = format_address(sock.getsockname())
    return BoundSocket(sock, name, listener, is_ours=True)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more; what else is there stays.

    Raises:
        OSError: somebody does.
    """
    try:
        if not stat.S_ISSOCK(path.stat(follow_symlinks=False).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass  # its queue is full: somebody listens
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _give_to(file: Path, owner: str | int | None, group: str | int | None) -> None:
    try:
        if owner is None:
            shutil.chown(file, group=group)  # type: ignore[arg-type]
        else:
            shutil.chown(file, owner, group)
    except LookupError as error:
        raise OSError(errno.EINVAL, str(error)) from None


def _identity_of(file: Path) -> tuple[int, ...]:
    """Return what tells a socket's file from another one of its name."""
    status = file.stat(follow_symlinks=False)
    if not stat.S_ISSOCK(status.st_mode):
        raise OSError(errno.EINVAL, f"{file} is no socket")
    # The number of a file that was removed is soon that of another one.
    return status.st_dev, status.st_ino, status.st_mtime_ns
