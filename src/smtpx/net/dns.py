"""Who takes mail for a domain, and at which addresses: what a client asks the DNS.

A client that connects to a host by name leaves the name to the system, unless it is
given a `Resolver`. One that is to deliver to a domain needs MX records, for which the
system has no function: dnspython asks for them, and is loaded no sooner.

A conversation awaits a `Resolver` as it awaits a channel: on the blocking front its
coroutines never suspend. `smtpx.net.aio_dns` has the one for event loops.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from smtpx.net.addresses import endpoint_of_ip

if TYPE_CHECKING:
    import dns.resolver

__all__ = [
    "MAX_EXCHANGERS",
    "DNSFailure",
    "DNSResolver",
    "MailExchanger",
    "Resolver",
    "absolute_name",
    "configure",
    "exchangers_in",
    "names_only",
    "order_exchangers",
    "translate",
]

# Of one domain. Large providers have 5; the number bounds the time that a domain with
# a thousand dead ones can cost.
MAX_EXCHANGERS: Final = 10

# How the last part of an IPv4 address may be written: ``127.1``, ``0x7f.1``, as the
# inet_aton of C takes them. No top-level domain is a number.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")

# How long one question may take in all when nobody says; dnspython's default.
_LIFETIME_SECONDS: Final = 5.0


class DNSFailure(OSError):
    """A name could not be resolved.

    Attributes:
        is_temporary: whether asking again later may help.
    """

    def __init__(self, text: str, *, is_temporary: bool) -> None:
        super().__init__(text)
        self.is_temporary = is_temporary


@dataclass(frozen=True, slots=True)
class MailExchanger:
    """A host that takes mail for a domain.

    Attributes:
        preference: the lowest is to be tried first.
        host: its name, without a dot at the end; empty in a null MX (RFC 7505).
    """

    preference: int
    host: str


class Resolver(Protocol):
    """What answers questions about names."""

    async def addresses(self, host: str, *, timeout: float | None) -> Sequence[str]:
        """Return the IP addresses of a host, the best first; none if it has none.

        Args:
            host: its name, in A-labels, or an IP address.
            timeout: in seconds; None leaves it to the resolver.

        Raises:
            DNSFailure: there is no answer, or no such name.
        """
        ...

    async def mail_exchangers(
        self, domain: str, *, timeout: float | None
    ) -> Sequence[MailExchanger]:
        """Return the MX records of a domain, in any order; none if it has none.

        Args:
            domain: in A-labels.
            timeout: in seconds; None leaves it to the resolver.

        Raises:
            DNSFailure: there is no answer, or no such name.
        """
        ...


def order_exchangers(
    domain: str,
    found: Iterable[MailExchanger],
    *,
    shuffle: Callable[[list[MailExchanger]], object] = random.shuffle,
) -> list[str]:
    """Return the hosts to deliver to, in the order to try them.

    By preference, and equal ones in random order, to spread the load (RFC 5321 section
    5.1). A domain without MX records is its own mail exchanger. A record that has an
    address where a host should be is passed over: the same section asks for a name, and
    the DNS, were it asked, knows none that ends in a number.

    Args:
        domain: that the mail is for.
        found: its MX records.
        shuffle: shuffles a list in place.

    Raises:
        DNSFailure: the domain takes no mail: it has a null MX (RFC 7505 section 3), or
            records that name no host.

    >>> found = [MailExchanger(20, "b"), MailExchanger(10, "a")]
    >>> order_exchangers("example.com", found)
    ['a', 'b']
    >>> order_exchangers("example.com", [])
    ['example.com']
    """
    exchangers = list(found)
    if not exchangers:
        return [domain]
    # A null MX stands alone; beside others it means nothing (RFC 7505 section 3).
    hosts = [one for one in exchangers if one.host]
    if not hosts:
        text = f"{domain} takes no mail: it has a null MX (RFC 7505)"
        raise DNSFailure(text, is_temporary=False)
    hosts = [one for one in hosts if not _is_address(one.host)]
    if not hosts:
        text = f"{domain} names no host that takes mail: an address in its MX record"
        raise DNSFailure(text, is_temporary=False)
    shuffle(hosts)
    hosts.sort(key=lambda one: one.preference)
    return list(dict.fromkeys(one.host for one in hosts))[:MAX_EXCHANGERS]


def _is_address(host: str) -> bool:
    """Tell whether the system would take it for an address, and look nothing up."""
    last = host.rpartition(".")[2]
    return bool(
        _NUMBER.fullmatch(last) or endpoint_of_ip(host.partition("%")[0], port=0)
    )


# What both fronts do with dnspython.


def configure(
    resolver: dns.resolver.BaseResolver, nameservers: Sequence[str], port: int
) -> None:
    """Make a resolver of dnspython ask the given servers."""
    if nameservers:
        resolver.nameservers = list(nameservers)
    resolver.port = port


def absolute_name(name: str) -> str:
    """Write a name so that no search list applies: ``mx`` is not ``mx.our.example``.

    >>> absolute_name("mx"), absolute_name("mx.test.")
    ('mx.', 'mx.test.')
    """
    return name.rstrip(".") + "."


def translate(name: str, error: Exception) -> DNSFailure | None:
    """Return the error for what dnspython raised; None for a name without records."""
    import dns.name  # noqa: PLC0415 - loaded when used
    import dns.resolver  # noqa: PLC0415

    if isinstance(error, dns.resolver.NoAnswer):
        return None
    if isinstance(error, dns.resolver.NXDOMAIN):
        return DNSFailure(f"there is no domain {name}", is_temporary=False)
    malformed = (dns.name.EmptyLabel, dns.name.LabelTooLong, dns.name.NameTooLong)
    if isinstance(error, malformed):
        return DNSFailure(f"{name} cannot be a domain", is_temporary=False)
    return DNSFailure(f"no answer from the DNS about {name}", is_temporary=True)


@contextmanager
def names_only(host: str) -> Iterator[None]:
    """Let the system look up a name that may be none: of an MX record, anything.

    Python raises UnicodeError at a label that is empty or too long.

    Args:
        host: what is looked up.

    Raises:
        DNSFailure: it can be no name.
    """
    try:
        yield
    except UnicodeError as error:
        text = f"{host} cannot be the name of a host"
        raise DNSFailure(text, is_temporary=False) from error


def exchangers_in(answer: Iterable[Any]) -> list[MailExchanger]:
    """Read MX records of dnspython."""
    return [
        MailExchanger(one.preference, one.exchange.to_text(omit_final_dot=True))
        if len(one.exchange) > 1
        else MailExchanger(one.preference, "")
        for one in answer
    ]


class DNSResolver:
    """A resolver that blocks.

    Args:
        nameservers: IP addresses of the servers to ask; by default the system's.
        port: at which they listen.

    >>> DNSResolver(["192.0.2.53"])
    DNSResolver(['192.0.2.53'])
    """

    def __init__(self, nameservers: Sequence[str] = (), *, port: int = 53) -> None:
        self._nameservers = list(nameservers)
        self._port = port
        self._resolver: dns.resolver.Resolver | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._nameservers})"

    async def addresses(self, host: str, *, timeout: float | None) -> Sequence[str]:
        """Return the IP addresses of a host, the best first; none if it has none.

        Args:
            host: its name, in A-labels, or an IP address.
            timeout: in seconds, for each of the two questions.

        Raises:
            DNSFailure: there is no answer, or no such name.
        """
        if endpoint_of_ip(host, 0):
            return [host]
        found: list[str] = []
        failures: list[DNSFailure] = []
        for kind in ("AAAA", "A"):
            try:
                found += [one.address for one in self._ask(host, kind, timeout)]
            except DNSFailure as failure:
                failures.append(failure)
        if not found and failures:
            raise failures[-1]
        return found

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
        return exchangers_in(self._ask(domain, "MX", timeout))

    def _ask(self, name: str, kind: str, timeout: float | None) -> list[Any]:
        import dns.exception  # noqa: PLC0415 - loaded when used
        import dns.resolver  # noqa: PLC0415

        try:
            if self._resolver is None:
                resolver = dns.resolver.Resolver(configure=not self._nameservers)
                configure(resolver, self._nameservers, self._port)
                self._resolver = resolver
            lifetime = _LIFETIME_SECONDS if timeout is None else timeout
            answer = self._resolver.resolve(
                absolute_name(name), kind, lifetime=lifetime
            )
        except dns.exception.DNSException as error:
            failure = translate(name, error)
            if failure is None:
                return []
            raise failure from error
        return list(answer)
