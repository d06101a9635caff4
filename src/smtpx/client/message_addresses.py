"""Who a message is from and to, by its own fields (RFC 5322 sections 3.6.2 to 3.6.6).

For messages that are sent without a word about sender and recipients. What is not
certain is asked for, never guessed.
"""

from __future__ import annotations

import email.errors
from email.headerregistry import HeaderRegistry
from email.message import Message
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smtpx.errors import BadAddress

__all__ = [
    "AnyMessage",
    "addresses_of",
    "parse_addresses",
    "recipients_of",
    "sender_of",
]

if TYPE_CHECKING:
    AnyMessage: TypeAlias = Message[Any, Any]
else:
    AnyMessage = Message  # generic for type checkers only

_parse_header = HeaderRegistry()

# The standard library's parser has its bugs: "b@" is an IndexError, for one.
_PARSER_ERRORS: Final = (
    email.errors.MessageError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def sender_of(message: AnyMessage) -> str:
    """Return the address that a message is from (RFC 5322 section 3.6.2).

    Sender goes before From, and if the message was resent, the resent fields before
    both (section 3.6.6).

    Raises:
        ValueError: it names none, or several and no one sender; or was resent more than
            once, so that nobody can know which block of resent fields is meant; or an
            address is malformed.
    """
    prefix = _resent_prefix(message)
    for name in ("Sender", "From"):
        found = dict.fromkeys(_addresses_in(message, prefix + name))
        if len(found) > 1:
            # The first of several would be a guess, and get the failures of all.
            remedy = "leave one" if name == "Sender" else f"add a {prefix}Sender field"
            raise ValueError(
                f"the message has {len(found)} addresses in {prefix}{name} (RFC 5322 "
                f"section 3.6.2): {remedy}, or give the sender"
            )
        if found:
            return next(iter(found))
    raise ValueError(f"the message has no {prefix}From: give the sender")


def recipients_of(message: AnyMessage) -> list[str]:
    """Return the addresses of To, Cc and Bcc, each once, in order.

    Or those of the resent fields, if the message was resent (RFC 5322 section 3.6.6).

    Raises:
        ValueError: as `sender_of`.
    """
    prefix = _resent_prefix(message)
    found = [
        address
        for name in ("To", "Cc", "Bcc")
        for address in _addresses_in(message, prefix + name)
    ]
    if not found:
        raise ValueError("the message has no To, Cc or Bcc: give the recipients")
    return list(dict.fromkeys(found))


def addresses_of(message: AnyMessage) -> tuple[str, list[str]]:
    """Return what `sender_of` and `recipients_of` do."""
    return sender_of(message), recipients_of(message)


def _resent_prefix(message: AnyMessage) -> str:
    resent = message.get_all("Resent-Date", ())
    if len(resent) > 1:
        raise ValueError("the message was resent more than once: name the addresses")
    return "Resent-" if resent else ""


def _addresses_in(message: AnyMessage, name: str) -> list[str]:
    return [
        address
        for value in message.get_all(name, ())
        for address in parse_addresses(name, str(value))
    ]


def parse_addresses(name: str, text: str) -> list[str]:
    """Parse the addresses of a field; display names and groups are dropped.

    Raises:
        BadAddress: what is between the commas is no address.
    """
    try:
        header: Any = _parse_header(name, text)
    except _PARSER_ERRORS:
        raise BadAddress(f"header field {name} is malformed: {text!a}") from None
    for defect in header.defects:
        if type(defect).__name__ == "InvalidHeaderDefect":
            raise BadAddress(f"header field {name}: {defect}")
    return [address.addr_spec for address in header.addresses]
