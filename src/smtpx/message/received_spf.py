r"""The Received-SPF field (RFC 7208 section 9.1).

>>> from ipaddress import ip_address
>>> print(ReceivedSPF(
...     result="pass", receiver="mx.example.com", client=ip_address("192.0.2.1"),
...     hello="foo.example.net", envelope_from="ann@example.net",
... ).to_field().octets.decode().strip())
Received-SPF: pass (mx.example.com: ann@example.net, 192.0.2.1)
 receiver=mx.example.com; identity=mailfrom; client-ip=192.0.2.1;
 envelope-from="ann@example.net"; helo=foo.example.net
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from smtpx.message.fields import HeaderField, fold_field
from smtpx.message.words import quote_text
from smtpx.wire.octets import has_line_control

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

__all__ = ["ReceivedSPF"]

_NAME: Final = "Received-SPF"
_RESULTS: Final = frozenset(
    ("pass", "fail", "softfail", "neutral", "none", "temperror", "permerror")
)
# dot-atom (RFC 5322 section 3.2.3).
_DOT_ATOM: Final = re.compile(
    r"[0-9A-Za-z!#$%&'*+/=?^_`{|}~-]+(?:\.[0-9A-Za-z!#$%&'*+/=?^_`{|}~-]+)*"
)
_MAX_VALUE: Final = 512
"""Characters of one value. An address has 320 at most, and a line of the field with its
value has to fit into 998 octets (RFC 5322 section 2.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedSPF:
    """What SPF found, for filters that look for it in the header.

    It says more than the Authentication-Results field does. Put it above the Received
    field of this host.

    Attributes:
        result: as in `SPFResult.result`.
        receiver: the name of this host.
        client: the IP address of the client.
        hello: what the client called itself.
        envelope_from: the reverse path that was checked; empty if the HELO name was.
        problem: what is wrong, if the result is an error.

    Raises:
        ValueError: the result is none of RFC 7208.
    """

    result: str
    receiver: str
    client: IPv4Address | IPv6Address
    hello: str = ""
    envelope_from: str = ""
    problem: str = ""

    def __post_init__(self) -> None:
        if self.result not in _RESULTS:
            raise ValueError(f"no result of SPF: {self.result[:64]!a}")

    def to_field(self) -> HeaderField:
        """Write the field; what a client says cannot end it."""
        identity = self.envelope_from or self.hello
        comment = f"{self.receiver}: {identity or 'unknown'}, {self.client}"
        pairs = [
            ("receiver", self.receiver),
            ("identity", "mailfrom" if self.envelope_from else "helo"),
            ("client-ip", str(self.client)),
            ("envelope-from", self.envelope_from),
            ("helo", self.hello),
            ("problem", self.problem),
        ]
        words = [f"{key}={_value(value)};" for key, value in pairs if value]
        words[-1] = words[-1].removesuffix(";")
        said = [self.result, *_comment(comment).split(" "), *words]
        octets = [word.encode("utf-8", "replace") for word in said]
        return HeaderField(_NAME, fold_field(_NAME, octets))


def _one_line(text: str) -> str:
    """Return what can stand on one line, and does not make it too long."""
    text = text[:_MAX_VALUE]
    return "".join("?" if has_line_control(one) else one for one in text)


def _value(text: str) -> str:
    text = _one_line(text)
    return text if _DOT_ATOM.fullmatch(text) else quote_text(text)


def _comment(text: str) -> str:
    """Write a comment that ends where it should."""
    text = _one_line(text)
    for mark in "\\()":
        text = text.replace(mark, f"\\{mark}")
    return f"({text})"
