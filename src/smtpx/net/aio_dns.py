"""The resolver for event loops; see `smtpx.net.dns`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from smtpx.net.addresses import (
    ATTEMPT_DELAY_SECONDS,
    RESOLUTION_DELAY_SECONDS,
    endpoint_of_ip,
)
from smtpx.net.dns import (
    MailExchanger,
    absolute_name,
    configure,
    exchangers_in,
    translate,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dns.asyncresolver

__all__ = ["AsyncDNSResolver"]

# How long one question may take in all when nobody says; dnspython's default.
_LIFETIME_SECONDS = 5.0


class AsyncDNSResolver:
    """A resolver for asyncio.

    Args:
        nameservers: IP addresses of the servers to ask; by default the system's.
        port: at which they listen.

    >>> AsyncDNSResolver(["192.0.2.53"])
    AsyncDNSResolver(['192.0.2.53'])
    """

    def __init__(self, nameservers: Sequence[str] = (), *, port: int = 53) -> None:
        self._nameservers = list(nameservers)
        self._port = port
        self._resolver: dns.asyncresolver.Resolver | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._nameservers})"

    async def addresses(self, host: str, *, timeout: float | None) -> Sequence[str]:
        """Return the IP addresses of a host, the best first; none if it has none.

        Both questions are asked at once. Once IPv4 addresses are known, IPv6 ones are
        waited for no longer than 50 ms (RFC 8305 section 3); the other way round 250
        ms, as they would be tried no sooner (section 5).

        Args:
            host: its name, in A-labels, or an IP address.
            timeout: in seconds.

        Raises:
            DNSFailure: there is no answer, or no such name.
        """
        if endpoint_of_ip(host, 0):
            return [host]
        six, four = (
            asyncio.create_task(self._ask(host, kind, timeout))
            for kind in ("AAAA", "A")
        )
        try:
            done, _ = await asyncio.wait(
                (six, four), return_when=asyncio.FIRST_COMPLETED
            )
            delay = None
            if any(_found(task) for task in done):
                delay = (
                    ATTEMPT_DELAY_SECONDS if six in done else RESOLUTION_DELAY_SECONDS
                )
            await asyncio.wait((six, four), timeout=delay)
            return _join([task for task in (six, four) if task.done()])
        finally:
            six.cancel()
            four.cancel()
            await asyncio.gather(six, four, return_exceptions=True)

    async def mail_exchangers(
        self, domain: str, *, timeout: float | None
    ) -> Sequence[MailExchanger]:
        """Return the MX records of a domain, in any order; none if it has none.

        Args:
            domain: in A-labels.
            timeout: in seconds.

        Raises:
            DNSFailure: there is no answer, or no such name.
        """
        return exchangers_in(await self._ask(domain, "MX", timeout))

    async def _ask(self, name: str, kind: str, timeout: float | None) -> list[Any]:
        import dns.asyncresolver  # noqa: PLC0415 - loaded when used
        import dns.exception  # noqa: PLC0415

        try:
            if self._resolver is None:
                resolver = dns.asyncresolver.Resolver(configure=not self._nameservers)
                configure(resolver, self._nameservers, self._port)
                self._resolver = resolver
            lifetime = _LIFETIME_SECONDS if timeout is None else timeout
            answer = await self._resolver.resolve(
                absolute_name(name), kind, lifetime=lifetime
            )
        except dns.exception.DNSException as error:
            failure = translate(name, error)
            if failure is None:
                return []
            raise failure from error
        return list(answer)


def _found(task: asyncio.Task[list[Any]]) -> list[str]:
    """Return the addresses that a question was answered with."""
    return [] if task.exception() else [one.address for one in task.result()]


def _join(tasks: list[asyncio.Task[list[Any]]]) -> list[str]:
    """Return what both were answered with; if that is nothing, raise why."""
    found = [address for task in tasks for address in _found(task)]
    failures = [error for task in tasks if (error := task.exception())]
    if not found and failures:
        raise failures[-1]
    return found
