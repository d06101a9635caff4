"""The e-mail back ends of Django and Flask: what they have in common.

Each takes its settings from the framework, and sends over a pool of connections that
the whole process shares, so a request does not pay for TCP, TLS and AUTH.
"""

from __future__ import annotations

import atexit
import email.utils
import os
import threading
from dataclasses import dataclass, field, replace
from typing import Final

from smtpx.client.blocking_pool import BlockingClientPool
from smtpx.client.options import DEFAULT_OPTIONS, ClientOptions, TLSMode
from smtpx.client.pool_options import DEFAULT_POOL_OPTIONS, PoolOptions
from smtpx.errors import BadAddress
from smtpx.net.tls import client_context

__all__ = ["MAX_POOLS", "MailSettings", "address_of", "close_pools", "shared_pool"]

# Different settings that a process uses at a time; each keeps its connections. A
# program rarely has more than two or three accounts.
MAX_POOLS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class MailSettings:
    """Where a framework's settings say that mail goes; equal ones share a pool.

    Attributes:
        host: a name or an IP address.
        port: of TCP.
        user: empty for none.
        password: likewise.
        use_tls: STARTTLS, or nothing is sent.
        use_ssl: TLS from the first octet.
        timeout: in seconds, for connecting and for each reply but the last; None
            leaves those of a client.
        certificate: file of the client's certificate.
        key: file of its key.
        url: in place of the settings before; see `smtpx.client.options.parse_url`.
        client_options: of each connection, in place of the defaults.
        pool_options: of the pool.

    Raises:
        ValueError: both kinds of TLS are wanted.
    """

    host: str = "localhost"
    port: int = 25
    user: str = ""
    password: str = field(default="", repr=False)
    use_tls: bool = False
    use_ssl: bool = False
    timeout: float | None = None
    certificate: str | None = None
    key: str | None = None
    url: str | None = field(default=None, repr=False)
    client_options: ClientOptions = DEFAULT_OPTIONS
    pool_options: PoolOptions = DEFAULT_POOL_OPTIONS

    def __post_init__(self) -> None:
        if self.use_tls and self.use_ssl:
            raise ValueError("choose STARTTLS or TLS from the start, not both")

    def make_pool(self) -> BlockingClientPool:
        """Make a pool with these settings."""
        options = self.client_options
        if self.timeout is not None:
            short = dict.fromkeys(_TIMEOUTS, self.timeout)
            timeouts = replace(options.timeouts, **short)
            options = replace(options, timeouts=timeouts)
        if self.certificate is not None and options.tls_context is None:
            context = client_context(certificate=self.certificate, key=self.key)
            options = replace(options, tls_context=context)
        url = self.url
        if url is None:
            host = f"[{self.host}]" if ":" in self.host else self.host
            url = f"smtp://{host}:{self.port}"
            if options.tls is None:
                options = replace(options, tls=self._tls_mode())
        return BlockingClientPool(
            url,
            options=self.pool_options,
            client_options=options,
            auth=(self.user, self.password) if self.user else None,
        )

    def _tls_mode(self) -> TLSMode:
        if self.use_ssl:
            return TLSMode.IMPLICIT
        return TLSMode.REQUIRED if self.use_tls else TLSMode.NEVER


# Not `data_end`: who gives up before that reply does not know whether a message was
# delivered (RFC 1047).
_TIMEOUTS: Final = (
    *("connect", "tls", "greeting", "command", "mail", "rcpt", "data_start"),
    "data_block",
)


class _Pools:
    """The pools of a process, that used last at the end."""

    def __init__(self) -> None:
        self._pools: dict[MailSettings, BlockingClientPool] = {}
        self._lock = threading.Lock()

    def get(self, settings: MailSettings) -> BlockingClientPool:
        dropped = None
        with self._lock:
            pool = self._pools.pop(settings, None) or settings.make_pool()
            self._pools[settings] = pool
            if len(self._pools) > MAX_POOLS:
                dropped = self._pools.pop(next(iter(self._pools)))
        if dropped is not None:
            dropped.close()
        return pool

    def close(self) -> None:
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close()

    def begin_anew(self) -> None:
        """Forget a lock that a thread of the parent process may hold."""
        self._lock = threading.Lock()


_pools = _Pools()
atexit.register(_pools.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.begin_anew)


def shared_pool(settings: MailSettings) -> BlockingClientPool:
    """Return the pool of the process for these settings; it is closed at exit.

    Args:
        settings: the pool that was not used for the longest time is closed when there
            are more than `MAX_POOLS` different ones.
    """
    return _pools.get(settings)


def close_pools() -> None:
    """Close the pools of the process; the next message opens others."""
    _pools.close()


def address_of(text: str) -> str:
    """Return the address within what a framework calls one, with or without a name.

    Args:
        text: ``Ann <ann@example.com>`` or ``ann@example.com``.

    Raises:
        BadAddress: there is none in it.

    >>> address_of("Ann <ann@example.com>")
    'ann@example.com'
    """
    text = str(text)  # Django's lazy translations are none yet
    address = email.utils.parseaddr(text)[1]
    if "@" not in address or any(end in text for end in "\r\n\0"):
        raise BadAddress(f"no address with a domain: {text!a}")
    return address
