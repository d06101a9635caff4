"""What a message needs, and what is done where the server does not offer it."""

from __future__ import annotations

from dataclasses import replace
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.message import make_payload
from smtpx.client.options import Chunking, ClientOptions
from smtpx.client.plan import Offered, Order, Plan, make_plan
from smtpx.errors import BadParameter, Delivery, MessageTooLarge, NotSupported
from smtpx.wire.address import Mailbox
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.extensions import DEFAULT_REGISTRY, Extension
from smtpx.wire.grammar import parse_raw
from smtpx.wire.options import (
    BodyType,
    MailOptions,
    Notify,
    OriginalRecipient,
    RcptOptions,
    ReturnContent,
)
from smtpx.wire.params import Parameter
from tests.client.scripted import step

if TYPE_CHECKING:
    from smtpx.client.message import MessageSource

OPTIONS = ClientOptions()
ASCII = b"Subject: x\r\n\r\nx\r\n"
EIGHT_BIT = "Subject: x\r\n\r\ngrå\r\n".encode()
UTF8_HEADER = "Subject: grå\r\n\r\nx\r\n".encode()


def offered(*keywords: str) -> Offered:
    return Offered.of(Capabilities.parse(keywords))


def plan(
    message: MessageSource,
    *keywords: str,
    sender: str = "a@a.test",
    recipient: str = "b@b.test",
    options: ClientOptions = OPTIONS,
    **order: Any,  # noqa: ANN401 - what an Order takes
) -> Plan:
    return make_plan(
        Order(Mailbox.parse(sender), [Mailbox.parse(recipient)], [recipient], **order),
        step(make_payload(message)),
        offered(*keywords),
        options,
    )


def order_with(options: MailOptions, *rcpt_options: RcptOptions) -> Order:
    return Order(None, [Mailbox("b", "b.test")], ["b"], options, rcpt_options)


# --- 8BITMIME. ---


def test_ascii_needs_nothing() -> None:
    made = plan(ASCII, "8BITMIME", "SMTPUTF8", "BINARYMIME", "CHUNKING")
    assert made.mail.options == MailOptions()


def test_eight_bit_is_declared_where_offered() -> None:
    assert plan(EIGHT_BIT, "8BITMIME").mail.options.body is BodyType.EIGHTBITMIME


def test_eight_bit_is_an_error_where_not() -> None:
    with pytest.raises(NotSupported, match="8BITMIME, which is needed for content"):
        plan(EIGHT_BIT)


def test_eight_bit_may_be_sent_anyway() -> None:
    made = plan(EIGHT_BIT, options=replace(OPTIONS, allow_undeclared_content=True))
    assert made.mail.options.body is None
    assert not made.is_ascii_only


def test_message_object_is_rewritten_where_not_offered() -> None:
    message = EmailMessage()
    message["From"] = "a@a.test"
    message.set_content("grå\n", cte="8bit")
    assert plan(message, "8BITMIME").mail.options.body is BodyType.EIGHTBITMIME
    made = plan(message, "SIZE 9999")
    assert made.mail.options.body is None
    assert made.payload.content is not None
    assert made.payload.content.isascii()
    assert made.mail.options.size == len(made.payload.content)


def test_stream_is_declared_where_offered_and_watched_where_not() -> None:
    assert plan(iter([b"x"]), "8BITMIME").mail.options.body is BodyType.EIGHTBITMIME
    assert not plan(iter([b"x"]), "8BITMIME").is_ascii_only
    assert plan(iter([b"x"])).is_ascii_only
    anyway = replace(OPTIONS, allow_undeclared_content=True)
    assert not plan(iter([b"x"]), options=anyway).is_ascii_only


def test_body_by_hand() -> None:
    order = order_with(MailOptions(body=BodyType.BINARYMIME))
    payload = step(make_payload(b"\n", is_binary=True))
    server = offered("BINARYMIME", "CHUNKING")
    made = make_plan(order, payload, server, OPTIONS)
    assert made.uses_chunks
    assert made.mail.options.body is BodyType.BINARYMIME


# --- SMTPUTF8. ---


@pytest.mark.parametrize(
    ("message", "sender", "recipient", "reason"),
    [
        (ASCII, "grå@a.test", "b@b.test", "address grå@a.test"),
        (ASCII, "a@a.test", "grå@b.test", "address grå@b.test"),
        (UTF8_HEADER, "a@a.test", "b@b.test", "header field Subject"),
    ],
)
def test_utf8_is_used_only_when_needed(
    message: bytes, sender: str, recipient: str, reason: str
) -> None:
    both = ("SMTPUTF8", "8BITMIME")
    assert plan(
        message, *both, sender=sender, recipient=recipient
    ).mail.options.smtputf8
    with pytest.raises(NotSupported, match="SMTPUTF8") as caught:
        plan(message, "8BITMIME", sender=sender, recipient=recipient)
    assert reason in str(caught.value)
    assert caught.value.delivery is Delivery.NOT_SENT
    assert not plan(EIGHT_BIT, *both).mail.options.smtputf8


def test_utf8_header_may_be_sent_anyway_but_no_address() -> None:
    anyway = replace(OPTIONS, allow_undeclared_content=True)
    assert not plan(UTF8_HEADER, options=anyway).mail.options.smtputf8
    with pytest.raises(NotSupported):
        plan(ASCII, recipient="grå@b.test", options=anyway)


def test_domain_alone_is_written_in_a_labels() -> None:
    made = plan(ASCII, "SMTPUTF8", sender="a@grå.test", recipient="b@grå.test")
    assert str(made.mail.reverse_path) == "a@xn--gr-zia.test"
    assert str(made.rcpts[0].forward_path) == "b@xn--gr-zia.test"
    assert not made.mail.options.smtputf8
    made = plan(ASCII, "SMTPUTF8", sender="grå@grå.test", recipient="b@grå.test")
    assert str(made.mail.reverse_path) == "grå@grå.test"
    assert str(made.rcpts[0].forward_path) == "b@grå.test"


# --- Options, and the extensions they are from. ---


@pytest.mark.parametrize(
    ("options", "rcpt_options", "keywords"),
    [
        (MailOptions(smtputf8=True), None, ("SMTPUTF8",)),
        (MailOptions(auth=""), None, ("AUTH",)),
        (MailOptions(return_content=ReturnContent.HDRS), None, ("DSN",)),
        (MailOptions(envelope_id="x"), None, ("DSN",)),
        (MailOptions(body=BodyType.SEVENBIT), None, ("8BITMIME",)),
        (MailOptions(body=BodyType.EIGHTBITMIME), None, ("8BITMIME",)),
        (MailOptions(body=BodyType.BINARYMIME), None, ("BINARYMIME", "CHUNKING")),
        (MailOptions(), RcptOptions(notify=(Notify.NEVER,)), ("DSN",)),
        (
            MailOptions(),
            RcptOptions(original_recipient=OriginalRecipient("rfc822", "x")),
            ("DSN",),
        ),
    ],
)
def test_option_needs_its_extension(
    options: MailOptions, rcpt_options: RcptOptions | None, keywords: tuple[str, ...]
) -> None:
    order = order_with(options, *[rcpt_options] if rcpt_options else [])
    payload = step(make_payload(ASCII))
    make_plan(order, payload, offered(*keywords), OPTIONS)
    for missing in keywords:
        server = offered(*set(keywords) - {missing})
        with pytest.raises(NotSupported, match=missing) as caught:
            make_plan(order, payload, server, OPTIONS)
        assert caught.value.phase == "mail"


@pytest.mark.parametrize("keywords", [(), ("XFOO",)])
def test_parameter_that_nobody_registered_is_the_callers_mistake(
    keywords: tuple[str, ...],
) -> None:
    order = order_with(MailOptions(extra={"XFOO": "1"}))
    payload = step(make_payload(ASCII))
    with pytest.raises(BadParameter, match=r"parameter XFOO of MAIL: .* register"):
        make_plan(order, payload, offered(*keywords), OPTIONS)


def test_extension_of_ones_own_is_one_row() -> None:
    row = Parameter(
        keyword="XCOLOR",
        command="MAIL",
        decode=lambda value: value,
        encode=lambda value, _context: str(value).encode(),
        rfc="example.test",
    )
    registry = DEFAULT_REGISTRY.with_extension(
        Extension("XPAINT", "example.test", (row,), (parse_raw("XPAINT"),))
    )
    options = replace(OPTIONS, registry=registry)
    order = order_with(MailOptions(extra={"XCOLOR": "red"}))
    payload = step(make_payload(ASCII))
    made = make_plan(order, payload, offered("XPAINT"), options)
    mail_parameters, _ = registry.parameter_tables({"XPAINT"})
    assert made.mail.encode(mail_parameters) == b"MAIL FROM:<> XCOLOR=red\r\n"
    with pytest.raises(NotSupported, match="XPAINT"):
        make_plan(order, payload, offered(), options)


def test_binary_without_chunks_is_refused() -> None:
    options = replace(OPTIONS, chunking=Chunking.NEVER)
    order = order_with(MailOptions(body=BodyType.BINARYMIME))
    server = offered("BINARYMIME", "CHUNKING")
    with pytest.raises(NotSupported, match="options forbid"):
        make_plan(order, step(make_payload(ASCII)), server, options)


# --- SIZE. ---


def test_size_is_sent_where_offered() -> None:
    assert plan(b"x", "SIZE").mail.options.size == 3
    assert plan(b"x").mail.options.size is None


def test_size_by_hand_counts() -> None:
    order = order_with(MailOptions(size=5000))
    payload = step(make_payload(iter([b"x"])))
    made = make_plan(order, payload, offered("SIZE 9000"), OPTIONS)
    assert made.mail.options.size == 5000
    assert make_plan(order, payload, offered(), OPTIONS).mail.options.size is None
    with pytest.raises(MessageTooLarge):
        make_plan(order, payload, offered("SIZE 4999"), OPTIONS)


@pytest.mark.parametrize(
    ("limit", "is_taken"),
    [("SIZE 3", True), ("SIZE 2", False), ("SIZE 0", True), ("SIZE", True)],
)
def test_size_limit(limit: str, is_taken: bool) -> None:
    """RFC 1870 section 4: 0 is no limit; exactly the limit passes."""
    if is_taken:
        assert plan(b"x", limit).mail.options.size == 3
    else:
        with pytest.raises(MessageTooLarge) as caught:
            plan(b"x", limit)
        assert caught.value.sender == "a@a.test"
