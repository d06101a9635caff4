"""A DNS server on loopback, made of dnspython's messages."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


@dataclass
class NameServer:
    """Answers from a table.

    Attributes:
        records: by name and type, as in a zone file, such as
            ``{("mx.test", "A"): ["192.0.2.1"]}``. An exception of the names is one
            that exists and has nothing of the type asked for.
        silent: what it never answers.
        failing: what it answers with SERVFAIL.
        asked: all questions, in order.
    """

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    silent: set[tuple[str, str]] = field(default_factory=set)
    failing: set[tuple[str, str]] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[NameServer]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
            thread = threading.Thread(target=self._serve, args=(sock,))
            thread.start()
            try:
                yield self
            finally:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                    last.sendto(b"", sock.getsockname())
                thread.join()

    def _serve(self, sock: socket.socket) -> None:
        while True:
            packet, peer = sock.recvfrom(65_536)
            if not packet:
                return
            query = dns.message.from_wire(packet)
            answer = self._answer(query)
            if answer is not None:
                sock.sendto(answer.to_wire(), peer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message | None:
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if (name, kind) in self.silent:
            return None
        answer = dns.message.make_response(query, recursion_available=True)
        if (name, kind) in self.failing:
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer
        if name not in {known for known, _ in self.records}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer
        found = self.records.get((name, kind))
        if found:
            answer.answer.append(
                dns.rrset.from_text(question.name, 60, "IN", kind, *found)
            )
        return answer
