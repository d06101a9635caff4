"""The DNS as mail needs it: TXT, MX, A, AAAA and PTR, with what failed told apart.

What a domain says, that it says nothing, and that nobody could be asked are three
answers: records, no records, and `DNSFailure`. Whoever takes a failure for "nothing"
can be made to by an attacker who drops packets.

dnspython asks, and keeps answers for as long as their time to live says, a bounded
number of them. Who wants the hosts that a client connects to needs `smtpx.net.dns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

from smtpx.net.dns import DNSFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import dns.name

__all__ = [
    "Answer",
    "DNSRecordResolver",
    "MXRecord",
    "RecordResolver",
    "ResolverOptions",
    "reverse_name",
]

RecordT_co = TypeVar("RecordT_co", covariant=True)

_MAX_NAME_OCTETS: Final = 255  # RFC 1035 section 2.3.4


@dataclass(frozen=True, slots=True)
class Answer(Generic[RecordT_co]):
    """What the DNS says of a name and a type.

    Attributes:
        records: as it gives them; empty if there are none of the type.
        exists: whether there is such a name at all (not NXDOMAIN).
        is_authentic: whether a resolver that is trusted says that it validated the
            answer (DNSSEC).
    """

    records: tuple[RecordT_co, ...] = ()
    exists: bool = True
    is_authentic: bool = False


@dataclass(frozen=True, slots=True, order=True)
class MXRecord:
    """A host that takes mail for a domain (RFC 5321 section 5.1).

    Attributes:
        preference: the least is tried first.
        host: its name in lower case without the last dot; empty in a null MX
            (RFC 7505).
    """

    preference: int
    host: str


class RecordResolver(Protocol):
    """Looks things up. The names are ASCII, without the last dot or with it.

    All methods raise `DNSFailure` if the answer could not be had; a name that no DNS
    can hold does not exist.
    """

    async def txt(self, name: str) -> Answer[bytes]:
        """Look up TXT records, the strings of each joined.

        Args:
            name: whose.
        """
        ...

    async def mx(self, name: str) -> Answer[MXRecord]:
        """Look up MX records, the most preferred first.

        Args:
            name: whose.
        """
        ...

    async def a(self, name: str) -> Answer[IPv4Address]:
        """Look up the IPv4 addresses of a host.

        Args:
            name: whose.
        """
        ...

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        """Look up the IPv6 addresses of a host.

        Args:
            name: whose.
        """
        ...

    async def ptr(self, name: str) -> Answer[str]:
        """Look up the host names that a name in ``arpa`` points to.

        Args:
            name: whose.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolverOptions:
    """Whom to ask, and for how long.

    Attributes:
        nameservers: IP addresses, ``192.0.2.53`` or with a port ``192.0.2.53:5353``,
            ``[2001:db8::53]:53``; empty: those of the system.
        timeout: of one attempt with one server, in seconds; resolv.conf has 5.
        total_timeout: of a lookup with all its attempts, in seconds.
        max_cached: answers to keep; 1,000 of the largest, 64 KiB, are 64 MB.

    Raises:
        ValueError: a number is not positive, or an address is none.
    """

    nameservers: tuple[str, ...] = ()
    timeout: float = 2.0
    total_timeout: float = 5.0
    max_cached: int = 1_000

    def __post_init__(self) -> None:
        if not (self.timeout > 0 and self.total_timeout > 0 and self.max_cached > 0):
            raise ValueError("timeouts and max_cached must be positive")
        for one in self.nameservers:
            _split_address(one)


DEFAULT_RESOLVER_OPTIONS: Final = ResolverOptions()


class DNSRecordResolver:
    """Asks the DNS on the event loop that runs.

    Args:
        options: whom to ask, and for how long.

    Raises:
        DNSFailure: the system names no server; name one in the options.
    """

    def __init__(self, options: ResolverOptions = DEFAULT_RESOLVER_OPTIONS) -> None:
        import dns.asyncresolver  # noqa: PLC0415 - heavy, and most programs need none
        import dns.flags  # noqa: PLC0415
        import dns.nameserver  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        try:
            resolver = dns.asyncresolver.Resolver(configure=not options.nameservers)
        except dns.resolver.NoResolverConfiguration as error:
            raise DNSFailure(
                "the system names no DNS server: give ResolverOptions(nameservers=...)",
                is_temporary=False,
            ) from error
        if options.nameservers:
            resolver.nameservers = [
                dns.nameserver.Do53Nameserver(*_split_address(one))
                for one in options.nameservers
            ]
        resolver.timeout = options.timeout
        resolver.lifetime = options.total_timeout
        resolver.cache = dns.resolver.LRUCache(options.max_cached)
        # AD in a query asks for AD in the answer (RFC 6840).
        resolver.set_flags(dns.flags.RD | dns.flags.AD)
        self._resolver = resolver
        # Anyone on the path to another server can set AD.
        self._is_trusted = bool(options.nameservers) or all(
            ip_address(str(one)).is_loopback for one in resolver.nameservers
        )

    async def _look_up(
        self, text: str, kind: str, read: Callable[[object], RecordT_co]
    ) -> Answer[RecordT_co]:
        import dns.exception  # noqa: PLC0415 - see __init__
        import dns.flags  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        name = _parse_name(text)
        if name is None:
            return Answer((), exists=False)
        try:
            found = await self._resolver.resolve(name, kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return Answer((), exists=False)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            # SERVFAIL, REFUSED, no answer in time, a malformed one, no network. The
            # text of dnspython's errors has no line end, and no secret.
            raise DNSFailure(
                f"{kind} of {text!a}: {type(error).__name__}", is_temporary=True
            ) from error
        is_authentic = bool(found.response.flags & dns.flags.AD) and self._is_trusted
        if found.rrset is None:
            return Answer((), is_authentic=is_authentic)
        records = tuple(read(one) for one in found.rrset)
        return Answer(records, is_authentic=is_authentic)

    async def txt(self, name: str) -> Answer[bytes]:
        """See `RecordResolver.txt`.

        Args:
            name: whose.
        """
        return await self._look_up(name, "TXT", lambda one: b"".join(one.strings))  # type: ignore[attr-defined]

    async def mx(self, name: str) -> Answer[MXRecord]:
        """See `RecordResolver.mx`.

        Args:
            name: whose.
        """
        answer = await self._look_up(
            name,
            "MX",
            lambda one: MXRecord(one.preference, _host(one.exchange)),  # type: ignore[attr-defined]
        )
        return Answer(tuple(sorted(answer.records)), answer.exists, answer.is_authentic)

    async def a(self, name: str) -> Answer[IPv4Address]:
        """See `RecordResolver.a`.

        Args:
            name: whose.
        """
        return await self._look_up(name, "A", lambda one: IPv4Address(one.address))  # type: ignore[attr-defined]

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        """See `RecordResolver.aaaa`.

        Args:
            name: whose.
        """
        return await self._look_up(name, "AAAA", lambda one: IPv6Address(one.address))  # type: ignore[attr-defined]

    async def ptr(self, name: str) -> Answer[str]:
        """See `RecordResolver.ptr`.

        Args:
            name: whose.
        """
        return await self._look_up(name, "PTR", lambda one: _host(one.target))  # type: ignore[attr-defined]


def reverse_name(address: IPv4Address | IPv6Address) -> str:
    """Return the name whose PTR records name a host.

    Args:
        address: of the host.

    >>> reverse_name(IPv4Address("192.0.2.1"))
    '1.2.0.192.in-addr.arpa'
    """
    return address.reverse_pointer


def _parse_name(text: str) -> dns.name.Name | None:
    """Make a name of its labels; None if no DNS can hold it.

    Not by dnspython's parser: to it a backslash is an escape, and a peer that has SPF
    macros expanded can send one.
    """
    import dns.exception  # noqa: PLC0415 - see __init__
    import dns.name  # noqa: PLC0415

    labels: Iterable[str] = text.removesuffix(".").split(".")
    if not text.isascii() or len(text) > _MAX_NAME_OCTETS:
        return None
    try:
        return dns.name.Name([*(label.encode() for label in labels), b""])
    except dns.exception.DNSException:  # a label that is empty or too long
        return None


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower().removesuffix(".")


def _split_address(text: str) -> tuple[str, int]:
    """Split an IP address and a port, 53 if there is none."""
    host, mark, port = text.rpartition(":")
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif not mark or ":" in host:  # no port, or IPv6 without brackets
        host, port = text, ""
    number = int(port or "53")
    if not 0 < number < 65536:
        raise ValueError(f"no port: {number}")
    return str(ip_address(host)), number
