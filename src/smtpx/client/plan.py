"""What to say of a message to a server that offers this and that.

It needs no network: which parameters the message needs, whether the server offers the
extensions that they are from, and in what form the message goes. An extension is used
only if something needs it. What is needed and not offered is an error that names both,
before anything is sent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import TYPE_CHECKING, Final

from smtpx.client.limits import require_recipients
from smtpx.client.lines import MAX_LINE_OCTETS, has_long_line, watched
from smtpx.client.message import BLOCK_OCTETS, Payload
from smtpx.client.options import Chunking
from smtpx.errors import BadParameter, LineTooLong, MessageTooLarge, NotSupported
from smtpx.wire.address import Mailbox
from smtpx.wire.commands import Mail, Rcpt
from smtpx.wire.options import (
    DEFAULT_MAIL_OPTIONS,
    DEFAULT_RCPT_OPTIONS,
    BodyType,
    MailOptions,
    RcptOptions,
)

if TYPE_CHECKING:
    from smtpx.client.options import ClientOptions
    from smtpx.wire.capabilities import Capabilities
    from smtpx.wire.extensions import Registry

__all__ = [
    "FLIGHT_COMMANDS",
    "Offered",
    "Order",
    "Plan",
    "check_options",
    "make_plan",
]

# Commands of one flight. Their replies, at 512 octets the most, fit into what a channel
# reads ahead, so neither end ever waits for the other (RFC 2920 section 3.1).
FLIGHT_COMMANDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Offered:
    """What a server offers, as a plan asks for it: again and again.

    Attributes:
        capabilities: of which it was made.
        keywords: in upper case.
        size: the largest message in octets, None if no limit is known.
        limits: what LIMITS tells, by name (RFC 9422).
    """

    capabilities: Capabilities
    keywords: frozenset[str]
    size: int | None
    limits: Mapping[str, int]

    @classmethod
    def of(cls, capabilities: Capabilities) -> Offered:
        """Read the reply to EHLO."""
        keywords = frozenset(capabilities)
        return cls(capabilities, keywords, capabilities.size, capabilities.limits)


@dataclass(slots=True)  # not frozen, which would take three times as long to make
class Order:
    """What the caller wants sent.

    Attributes:
        sender: None is the null reverse path.
        recipients: in order; the same mailbox may come twice.
        names: of the recipients, as the caller wrote them.
        options: for MAIL.
        rcpt_options: for each recipient.
        require_all: send nothing unless every recipient is accepted.
    """

    sender: Mailbox | None
    recipients: Sequence[Mailbox]
    names: Sequence[str]
    options: MailOptions = DEFAULT_MAIL_OPTIONS
    rcpt_options: Sequence[RcptOptions] = ()
    require_all: bool = False


@dataclass(slots=True)
class Plan:
    """What to say to this server, and to send.

    Attributes:
        order: what it is for.
        mail: the command.
        rcpts: likewise.
        payload: in the form that the server takes.
        is_ascii_only: content over 127 that turns up on the way ends it.
        is_one_flight: the content goes with the envelope, as one chunk.
        uses_chunks: BDAT, not DATA.
    """

    order: Order
    mail: Mail
    rcpts: list[Rcpt]
    payload: Payload
    is_ascii_only: bool
    is_one_flight: bool
    uses_chunks: bool


@functools.lru_cache(maxsize=16)
def _needs(registry: Registry, command: str) -> dict[str, list[str]]:
    """Return the extensions that each option of a command may be from."""
    needs: dict[str, list[str]] = {}
    for extension in registry.extensions:
        for row in extension.parameters:
            if row.command == command:
                names = needs.setdefault(row.field or row.keyword, [])
                names.append(extension.keyword)
    return needs


def check_options(
    options: MailOptions | RcptOptions, offered: Offered, registry: Registry
) -> None:
    """Refuse an option that needs what the server does not offer.

    Args:
        options: of MAIL or RCPT.
        offered: what the server does offer.
        registry: says what is from where.

    Raises:
        NotSupported: names the option and the extension, or what the server told that
            excludes the value.
    """
    if options is DEFAULT_MAIL_OPTIONS or options is DEFAULT_RCPT_OPTIONS:
        return
    command = "MAIL" if isinstance(options, MailOptions) else "RCPT"
    keywords = offered.keywords
    needs = _needs(registry, command)
    given = {item.name: getattr(options, item.name) for item in fields(options)}
    given |= given.pop("extra")
    if given.get("body") is BodyType.BINARYMIME:
        # RFC 3030 section 3: it goes in chunks, or not at all.
        for keyword in ("BINARYMIME", "CHUNKING"):
            if keyword not in keywords:
                raise _not_offered(keyword, "body BINARYMIME")
    for name, value in given.items():
        # SIZE is for the server's information only: it is left out where unknown.
        if value is None or value is False or value == () or name == "size":
            continue
        sources = needs.get(name)
        if sources is None:
            raise BadParameter(
                f"no extension has a parameter {name} of {command}: write it in upper "
                "case, and register its extension by the option registry",
                code=555,
            )
        if not any(keyword in keywords for keyword in sources):
            raise _not_offered(sources[0], f"option {name}")
    try:
        registry.check(options, offered.capabilities)
    except BadParameter as error:
        raise NotSupported(
            f"the server does not take that: {error.text}",
            command=command,
            phase=command.lower(),
        ) from error


def _not_offered(keyword: str, what: str) -> NotSupported:
    return NotSupported(
        f"the server does not offer {keyword}, which is needed for {what}",
        command="MAIL",
        phase="mail",
    )


def make_plan(
    order: Order, payload: Payload, offered: Offered, options: ClientOptions
) -> Plan:
    """Find out how to send a message to a server with these capabilities.

    Raises:
        NotSupported: it does not offer what the message needs; the text names both.
        LineTooLong: a line of the message has over 998 octets.
        MessageTooLarge: for what the server takes (RFC 1870 section 6.1).
    """
    # What is asked for here first is so of nearly every message; a call less counts.
    given, keywords = order.options, offered.keywords
    if given is not DEFAULT_MAIL_OPTIONS or order.rcpt_options or offered.limits:
        _check_given(order, offered, options)
    if payload.utf8_reason and "SMTPUTF8" not in keywords:
        payload = payload.with_ascii_domains() or payload
    is_ascii = not payload.utf8_reason and _has_ascii_addresses(order)
    is_utf8 = given.smtputf8
    if not is_ascii:
        is_utf8 = _plan_utf8(order, payload, offered, options)
    body, is_ascii_only = None, False
    if payload.is_eight_bit is not False or given.body is not None:
        payload, body, is_ascii_only = _plan_body(order, payload, offered, options)
    is_seen = payload.has_lawful_lines or options.long_lines
    if not is_seen and body is not BodyType.BINARYMIME:
        payload = _plan_lines(payload)
    # Last: nothing may change what was signed.
    if options.sign is not None:
        payload = _signed(payload, options.sign)
    size = _plan_size(order, payload, offered) if "SIZE" in keywords else None
    if given is DEFAULT_MAIL_OPTIONS:
        mail_options = _mail_options(size, body, is_utf8)
    else:
        mail_options = replace(given, size=size, body=body, smtputf8=is_utf8)
    sender, paths = order.sender, order.recipients
    if not is_ascii and not is_utf8:
        sender, paths = _paths_in_ascii(order)
    uses_chunks = is_one_flight = False
    if "CHUNKING" in keywords:
        uses_chunks, is_one_flight = _plan_chunks(order, payload, offered, options)
    return Plan(
        order,
        Mail(sender, mail_options),
        list(map(Rcpt, paths, order.rcpt_options or repeat(DEFAULT_RCPT_OPTIONS))),
        payload,
        is_ascii_only,
        is_one_flight,
        uses_chunks,
    )


@functools.lru_cache(maxsize=256)
def _mail_options(
    size: int | None, body: BodyType | None, smtputf8: bool
) -> MailOptions:
    """Make options, or return those of another message that were the same."""
    if size is None and body is None and not smtputf8:
        return DEFAULT_MAIL_OPTIONS
    return MailOptions(size=size, body=body, smtputf8=smtputf8)


def _check_given(order: Order, offered: Offered, options: ClientOptions) -> None:
    """Refuse options and numbers that the server does not take."""
    if offered.limits:
        require_recipients(offered.limits, len(order.names))
    check_options(order.options, offered, options.registry)
    for rcpt_options in order.rcpt_options:
        check_options(rcpt_options, offered, options.registry)


def _plan_size(order: Order, payload: Payload, offered: Offered) -> int | None:
    """Return the size to declare to a server that asks, None if there is none."""
    size = payload.size if order.options.size is None else order.options.size
    limit = offered.size
    if size is not None and limit is not None and size > limit:
        sender = "" if order.sender is None else str(order.sender)
        raise MessageTooLarge(sender=sender, size=size, limit=limit)
    return size


def _has_ascii_addresses(order: Order) -> bool:
    """Say whether all addresses are what every server takes, as nearly always."""
    for name in order.names:
        if not name.isascii():
            return False
    return order.sender is None or order.sender.is_ascii


def _paths_in_ascii(order: Order) -> tuple[Mailbox | None, list[Mailbox]]:
    """Return the addresses with A-labels, for a server that knows no others."""
    sender = None if order.sender is None else _for_wire(order.sender)
    return sender, [_for_wire(mailbox) for mailbox in order.recipients]


def _for_wire(mailbox: Mailbox) -> Mailbox:
    if mailbox.is_ascii:
        return mailbox
    return Mailbox(mailbox.local_part, mailbox.domain_ascii)


def _plan_utf8(
    order: Order, payload: Payload, offered: Offered, options: ClientOptions
) -> bool:
    """Say whether to use SMTPUTF8: only if something needs it (RFC 6531 section 3)."""
    is_offered = "SMTPUTF8" in offered.keywords
    for mailbox in (order.sender, *order.recipients):
        if mailbox is not None and not mailbox.local_part.isascii():
            if not is_offered:
                raise _not_offered("SMTPUTF8", f"address {mailbox}")
            return True
    if payload.utf8_reason and not is_offered:
        if not options.allow_undeclared_content:
            raise _not_offered("SMTPUTF8", payload.utf8_reason)
        return False
    return bool(payload.utf8_reason) or order.options.smtputf8


def _plan_body(
    order: Order, payload: Payload, offered: Offered, options: ClientOptions
) -> tuple[Payload, BodyType | None, bool]:
    """Choose BODY, and the form of the message that fits it (RFC 6152 section 3).

    Returns:
        The payload, BODY, and whether the rest of it has to be ASCII.
    """
    if order.options.body is not None:
        is_binary = order.options.body is BodyType.BINARYMIME
        if is_binary and options.chunking is Chunking.NEVER:
            raise NotSupported(
                "BINARYMIME needs chunks, which the options forbid",
                command="MAIL",
                phase="mail",
            )
        return payload, order.options.body, False
    if payload.is_eight_bit is False:
        return payload, None, False
    if "8BITMIME" in offered.keywords:
        return payload, BodyType.EIGHTBITMIME, False
    if payload.is_eight_bit:
        downgraded = payload.downgraded()
        if downgraded is not None and not downgraded.is_eight_bit:
            return downgraded, None, False
        if not options.allow_undeclared_content:
            raise _not_offered("8BITMIME", "content with octets over 127")
    return payload, None, not options.allow_undeclared_content


def _signed(payload: Payload, sign: Callable[[bytes], bytes]) -> Payload:
    """Put the fields of a signature before a message in its last form."""
    if payload.content is None:
        raise ValueError(
            "only a message in memory can be signed: the signature goes first, and "
            "covers all of it; read the file or the stream and send the bytes"
        )
    fields = sign(payload.content)
    if fields and not fields.endswith(b"\r\n"):
        raise ValueError("the option sign returns header fields, which end with CRLF")
    content = fields + payload.content
    return Payload(content, len(content), payload.is_eight_bit, payload.utf8_reason)


def _plan_lines(payload: Payload) -> Payload:
    """Refuse lines that are too long, in a stream as soon as one is read.

    Raises:
        LineTooLong: there is one.
    """
    content = payload.content
    if content is not None:
        if not payload.has_lawful_lines:
            if len(content) > MAX_LINE_OCTETS and has_long_line(content):
                raise LineTooLong
            payload.has_lawful_lines = True
        return payload
    assert payload.blocks is not None  # noqa: S101 - a payload has one of the two
    return replace(payload, blocks=watched(payload.blocks))


def _plan_chunks(
    order: Order, payload: Payload, offered: Offered, options: ClientOptions
) -> tuple[bool, bool]:
    """Say whether to use BDAT, which is offered, and whether in the first flight."""
    if options.chunking is Chunking.NEVER:
        return False, False
    is_one_flight = (
        options.pipelining
        and "PIPELINING" in offered.keywords
        and payload.content is not None
        and len(payload.content) <= BLOCK_OCTETS
        and len(order.names) < FLIGHT_COMMANDS
        # Once it is on its way it cannot be held back.
        and not order.require_all
    )
    is_wanted = (
        options.chunking is Chunking.ALWAYS
        or order.options.body is BodyType.BINARYMIME
        or is_one_flight
    )
    return is_wanted, is_one_flight
