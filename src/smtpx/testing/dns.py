"""A DNS server on loopback, for tests of what looks things up.

>>> import asyncio
>>> from smtpx.net.records import DNSRecordResolver, ResolverOptions
>>> async def main():
...     zone = {"example.com": [("MX", "10 mx.example.com"), ("TXT", "v=spf1 -all")]}
...     async with DNSServer(zone) as server:
...         resolver = DNSRecordResolver(ResolverOptions(nameservers=(server.address,)))
...         print((await resolver.mx("example.com")).records)
...         print((await resolver.txt("example.com")).records)
>>> asyncio.run(main())
(MXRecord(preference=10, host='mx.example.com'),)
(b'v=spf1 -all',)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DNSServer", "Zone"]

Zone: TypeAlias = "Mapping[str, Sequence[tuple[str, str | bytes]] | dns.rcode.Rcode]"
"""Names to their records, each a type and its text as in a zone file; the text of a TXT
record is its value, without quotes. A name with a response code fails with it."""

_TTL: Final = 300
_MAX_CNAMES: Final = 8
_MAX_UDP_OCTETS: Final = 1232


class DNSServer:
    """Answers from a zone, over UDP and TCP, on a free port of 127.0.0.1.

    Use it as an async context manager.

    Args:
        zone: what it knows. All that it does not know does not exist.
        ttl: of the records, in seconds.
        is_silent: whether it takes questions and answers none.
        is_authentic: whether it says that it validated its answers (DNSSEC).

    Attributes:
        address: for `ResolverOptions.nameservers`.
        questions: what it was asked: name and type.
    """

    def __init__(
        self,
        zone: Zone,
        *,
        ttl: int = _TTL,
        is_silent: bool = False,
        is_authentic: bool = False,
    ) -> None:
        self.zone = {_key(name): records for name, records in zone.items()}
        self.address = ""
        self.questions: list[tuple[str, str]] = []
        self._ttl = ttl
        self._is_silent = is_silent
        self._is_authentic = is_authentic
        self._server: asyncio.Server | None = None
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve_tcp, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), (host, port)
        )
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None  # noqa: S101 - __aenter__ made them
        assert self._transport is not None  # noqa: S101
        self._transport.close()
        self._server.close()
        await self._server.wait_closed()

    def answer(self, octets: bytes, *, max_octets: int = 65_535) -> bytes:
        """Answer one question; nothing if the server is silent, or asked nonsense.

        Args:
            octets: the query.
            max_octets: how long an answer may be before it is cut, and says so.
        """
        try:
            query = dns.message.from_wire(octets)
        except dns.exception.DNSException:
            return b""
        if not query.question:
            return b""
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        self.questions.append((_name_key(question.name), kind))
        if self._is_silent:
            return b""
        response = dns.message.make_response(query)
        if self._is_authentic:
            response.flags |= dns.flags.AD
        self._fill(response, question.name, question.rdtype)
        wire = response.to_wire(max_size=65_535)
        if len(wire) > max_octets:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire

    def receive_datagram(self, octets: bytes, address: tuple[str, int]) -> None:
        """Answer a question that came over UDP.

        Args:
            octets: the query.
            address: who asks.
        """
        wire = self.answer(octets, max_octets=_MAX_UDP_OCTETS)
        if wire and self._transport is not None:
            self._transport.sendto(wire, address)

    def _fill(
        self,
        response: dns.message.Message,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
    ) -> None:
        for _ in range(_MAX_CNAMES):
            records = self.zone.get(_name_key(name))
            if records is None:
                response.set_rcode(dns.rcode.NXDOMAIN)
                return
            if isinstance(records, dns.rcode.Rcode):
                response.set_rcode(records)
                return
            found = self._rrset(name, kind, records)
            alias = None if found else self._rrset(name, dns.rdatatype.CNAME, records)
            if alias is None:
                if found is not None:
                    response.answer.append(found)
                return
            response.answer.append(alias)
            name = alias[0].target

    def _rrset(
        self,
        name: dns.name.Name,
        kind: dns.rdatatype.RdataType,
        records: Sequence[tuple[str, str | bytes]],
    ) -> dns.rrset.RRset | None:
        wanted = dns.rdatatype.to_text(kind)
        found = [
            _rdata(kind, value) for type_name, value in records if type_name == wanted
        ]
        if not found:
            return None
        return dns.rrset.from_rdata_list(name, self._ttl, found)

    async def _serve_tcp(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                wire = self.answer(await reader.readexactly(size))
                if wire:
                    writer.write(len(wire).to_bytes(2, "big") + wire)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DNSServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.receive_datagram(data, addr)


def _key(name: str) -> str:
    return name.lower().rstrip(".")


def _name_key(name: dns.name.Name) -> str:
    """Write a name without the escapes of a zone file."""
    return _key(b".".join(name.labels).decode("latin-1"))


def _rdata(kind: dns.rdatatype.RdataType, value: str | bytes) -> dns.rdata.Rdata:
    """Make a record; a TXT value is cut into strings of 255 octets."""
    if kind == dns.rdatatype.TXT:
        octets = value.encode() if isinstance(value, str) else value
        strings = [octets[at : at + 255] for at in range(0, len(octets), 255)] or [b""]
        return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, kind, strings)
    text = value if isinstance(value, str) else value.decode("ascii")
    return dns.rdata.from_text(
        dns.rdataclass.IN, kind, text, origin=dns.name.root, relativize=False
    )
