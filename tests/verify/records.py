"""A resolver that answers from a zone, without a network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, TypeVar

from smtpx.net.dns import DNSFailure
from smtpx.net.records import Answer, MXRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RecordT = TypeVar("RecordT")

FAILS: Final = "fails"


class ZoneResolver:
    """Answers from a zone of names to records; `FAILS` for a name that fails."""

    def __init__(self, zone: Mapping[str, Sequence[tuple[str, str]] | str]) -> None:
        self.zone = {name.lower().rstrip("."): found for name, found in zone.items()}
        self.questions: list[tuple[str, str]] = []

    def _find(
        self, name: str, kind: str, read: Callable[[str], RecordT]
    ) -> Answer[RecordT]:
        self.questions.append((name, kind))
        found = self.zone.get(name.lower().rstrip("."))
        if found is None:
            return Answer((), exists=False)
        if isinstance(found, str):
            raise DNSFailure(f"{kind} of {name}", is_temporary=True)
        return Answer(tuple(read(value) for one, value in found if one == kind))

    async def txt(self, name: str) -> Answer[bytes]:
        return self._find(name, "TXT", str.encode)

    async def mx(self, name: str) -> Answer[MXRecord]:
        return self._find(name, "MX", read_mx)

    async def a(self, name: str) -> Answer[IPv4Address]:
        return self._find(name, "A", IPv4Address)

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        return self._find(name, "AAAA", IPv6Address)

    async def ptr(self, name: str) -> Answer[str]:
        return self._find(name, "PTR", str)


def read_mx(text: str) -> MXRecord:
    preference, _, host = text.partition(" ")
    return MXRecord(int(preference), host.rstrip("."))
