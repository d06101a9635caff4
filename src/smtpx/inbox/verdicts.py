"""Verdicts: SPF, DKIM, DMARC, ARC and iprev of a message, when somebody asks.

The client of an inbox is mostly a program on the same machine, for which no domain
answers; but signatures are verified as everywhere, and a gateway that tells of a client
by XCLIENT is believed.
"""

from __future__ import annotations

import dataclasses
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from smtpx.errors import BadAddress
from smtpx.verify.authentication import Authentication, Origin, authenticate
from smtpx.wire.address import Mailbox

if TYPE_CHECKING:
    from smtpx.inbox.messages import StoredMessage
    from smtpx.inbox.views import JSONObject
    from smtpx.net.records import RecordResolver

__all__ = ["find_verdicts"]


async def find_verdicts(
    message: StoredMessage, content: bytes, resolver: RecordResolver
) -> JSONObject:
    """Check who sent a message.

    Args:
        message: the facts.
        content: the message.
        resolver: for the DNS.

    Returns:
        Each verdict, and the Authentication-Results field that a server would add.
    """
    origin = Origin(
        peer=None if message.peer_host is None else ip_address(message.peer_host),
        reverse_path=_mailbox(message.sender),
        hello=message.hello_name,
        user=message.user or "",
    )
    found = await authenticate(content, origin, resolver, receiver=message.hostname)
    return _described(found, message.hostname)


def _mailbox(address: str) -> Mailbox | None:
    try:
        return Mailbox.parse(address) if address else None
    except BadAddress:
        # It was parsed when it came; a database may be of another version.
        return None


def _described(found: Authentication, hostname: str) -> JSONObject:
    field = found.to_results(hostname).to_field()
    return {
        "spf": _plain(found.spf),
        "dkim": [_plain(one) for one in found.dkim],
        "dmarc": _plain(found.dmarc),
        "arc": _plain(found.arc),
        "iprev": None if found.iprev is None else _plain(found.iprev),
        "authentication_results": field.octets.decode("utf-8", "replace").strip(),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON of any result
    """Write a value as JSON has it."""
    if dataclasses.is_dataclass(value):
        return {
            item.name: _plain(getattr(value, item.name))
            for item in dataclasses.fields(value)
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list | frozenset):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int) else str(value)
