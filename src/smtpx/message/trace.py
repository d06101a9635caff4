r"""Trace fields: Return-Path and Received (RFC 5321 section 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.message.fields import HeaderField
from smtpx.wire.octets import has_line_control

if TYPE_CHECKING:
    from datetime import datetime
    from ipaddress import IPv4Address, IPv6Address

    from smtpx.wire.address import Mailbox

__all__ = ["Received", "format_date", "make_return_path"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


def format_date(date: datetime) -> str:
    """Write a date as in a header field (RFC 5322 section 3.3).

    Args:
        date: with a time zone.

    Raises:
        ValueError: it has none, so nobody could know when it is.

    >>> from datetime import UTC, datetime
    >>> format_date(datetime(2026, 3, 5, 10, 0, tzinfo=UTC))
    'Thu, 05 Mar 2026 10:00:00 +0000'
    """
    if date.utcoffset() is None:
        raise ValueError("give the date a time zone")
    # Not strftime: its names are those of the locale.
    return (
        f"{_DAYS[date.weekday()]}, {date.day:02} {_MONTHS[date.month - 1]} "
        f"{date.year:04} {date:%H:%M:%S %z}"
    )


def make_return_path(reverse_path: Mailbox | None) -> HeaderField:
    r"""Make the field that final delivery puts on top (RFC 5321 section 4.4).

    Args:
        reverse_path: None for the null reverse path.

    >>> make_return_path(None).octets
    b'Return-Path: <>\r\n'
    """
    sender = "" if reverse_path is None else str(reverse_path)
    return HeaderField("Return-Path", f"Return-Path: <{sender}>\r\n".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    r"""One Received field: how a message came from one host to the next.

    Attributes:
        hello: what the client called itself; empty if it did not.
        peer: its IP address; None on a unix socket.
        peer_name: its name, if that was verified; else empty.
        by: the name of this host.
        protocol: as in ``ESMTPS`` (RFC 3848).
        id: of the session or of the message here.
        tls: the version and cipher; empty in clear.
        recipient: if there is one only: several may be strangers to each other
            (RFC 5321 section 7.2).
        date: when it came, with a time zone.

    >>> from datetime import UTC, datetime
    >>> print(Received(
    ...     hello="client.example", by="mx.example.com", protocol="ESMTP", id="4XkQ",
    ...     date=datetime(2026, 3, 5, 10, 0, tzinfo=UTC)).to_field().octets.decode())
    Received: from client.example (unix socket)
        by mx.example.com with ESMTP id 4XkQ; Thu, 05 Mar 2026 10:00:00 +0000
    """

    by: str
    protocol: str
    id: str
    date: datetime
    hello: str = ""
    peer: IPv4Address | IPv6Address | None = None
    peer_name: str = ""
    tls: str = ""
    recipient: Mailbox | None = None

    def to_field(self) -> HeaderField:
        """Write it; what a client says cannot end the field."""
        lines = [
            f"Received: from {self.hello or 'unknown'} ({self._tcp_info()})",
            f"\tby {self.by} with {self.protocol} id {self.id}",
        ]
        if self.tls:
            lines.append(f"\t({self.tls})")
        if self.recipient is not None:
            lines.append(f"\tfor <{self.recipient}>")
        lines[-1] += f"; {format_date(self.date)}"
        octets = "".join(f"{_one_line(line)}\r\n" for line in lines).encode()
        return HeaderField("Received", octets)

    def _tcp_info(self) -> str:
        """Write the address that TCP tells, as RFC 5321 section 4.4 has it."""
        if self.peer is None:
            return "unix socket"
        literal = f"[IPv6:{self.peer}]" if self.peer.version == 6 else f"[{self.peer}]"
        return f"{self.peer_name} {literal}" if self.peer_name else literal


def _one_line(text: str) -> str:
    """Replace what could split the field, or a line of a log made of it."""
    # The tab folds a field, and is ours.
    kept = text.removeprefix("\t")
    if not has_line_control(kept):
        return text
    tab = "\t" if text.startswith("\t") else ""
    return tab + "".join("?" if has_line_control(one) else one for one in kept)
