"""The forms of a message, and what a header value must not do."""

from __future__ import annotations

import email
import email.policy
import io
import tempfile
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.client.message import BLOCK_OCTETS, BinaryFile, make_payload
from smtpx.client.message_addresses import addresses_of
from smtpx.errors import RecipientsRefused, UnsafeOctets
from tests.client.messages import simple
from tests.client.scripted import Scripted, hello, step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from smtpx.client.message import MessageSource, Payload


def payload_of(source: MessageSource) -> Payload:
    return step(make_payload(source))


def read(payload: Payload) -> list[bytes]:
    async def collect() -> list[bytes]:
        assert payload.blocks is not None
        return [block async for block in payload.blocks]

    return step(collect())


# --- Octets and text. ---


@pytest.mark.parametrize(
    "source", [b"a\nb\rc", bytearray(b"a\nb\rc"), memoryview(b"a\nb\rc"), "a\nb\rc"]
)
def test_octets_are_normalised_at_once(source: MessageSource) -> None:
    payload = payload_of(source)
    assert payload.content == b"a\r\nb\r\nc\r\n"
    assert payload.size == 9
    assert payload.is_eight_bit is False
    assert payload.utf8_reason == ""
    assert payload.downgraded() is None


def test_binary_octets_are_left_alone() -> None:
    payload = step(make_payload(b"a\nb\0", is_binary=True))
    assert payload.content == b"a\nb\0"


@pytest.mark.parametrize(
    ("octets", "is_eight_bit", "reason"),
    [
        (b"Subject: x\r\n\r\nbody", False, ""),
        ("Subject: x\r\n\r\ngrå".encode(), True, ""),
        ("Subject: x\n\ngrå".encode(), True, ""),
        ("Subject: grå\r\n\r\nx".encode(), True, "header field Subject"),
        ("X: 1\nSubject: grå".encode(), True, "header field Subject"),
        # Another charset's: SMTPUTF8 is no help there.
        (b"Subject: gr\xe5\r\n\r\nx", True, ""),
        (b"X: gr\xe5\r\nY: gr\xc3\xa5\r\n\r\nx", True, "header field Y"),
        (b"\r\n\r\n\xc3\xa5", True, ""),
    ],
)
def test_what_octets_need(octets: bytes, is_eight_bit: bool, reason: str) -> None:
    payload = payload_of(octets)
    assert payload.is_eight_bit is is_eight_bit
    assert payload.utf8_reason == reason


def test_what_is_no_message() -> None:
    with pytest.raises(TypeError, match="not int"):
        payload_of(1)  # type: ignore[arg-type]


# --- Streams. ---


def test_file_is_read_in_blocks_and_knows_its_size() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"skipped" + b"x" * 150_000)
        file.seek(7)
        payload = payload_of(file)
        assert payload.content is None
        assert payload.size == 150_000
        assert payload.is_eight_bit is None
        blocks = read(payload)
    assert [len(block) for block in blocks] == [65_536, 65_536, 150_000 - 131_072]
    assert b"".join(blocks) == b"x" * 150_000


def test_file_that_cannot_be_sought_has_no_known_size() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    class Reader:
        def __init__(self) -> None:
            self.left = [b"ab", b"c"]

        def read(self, size: int) -> bytes:
            return self.left.pop(0) if self.left else b""

    for source in (Pipe(b"abc"), Reader()):
        payload = payload_of(source)
        assert payload.size is None
        assert read(payload) == [b"abc"]


def test_file_in_text_mode_is_refused() -> None:
    with pytest.raises(TypeError, match="binary mode"):
        payload_of(io.StringIO("text"))  # type: ignore[arg-type]


def test_small_blocks_are_joined_and_large_ones_cut() -> None:
    lines = [b"x" * 99 + b"\n"] * 2000
    blocks = read(payload_of(iter(lines)))
    assert [len(block) for block in blocks] == [BLOCK_OCTETS] * 3 + [200_000 - 196_608]
    assert b"".join(blocks) == b"".join(lines)
    assert [len(block) for block in read(payload_of([b"y" * 140_000]))] == [
        BLOCK_OCTETS,
        BLOCK_OCTETS,
        140_000 - 2 * BLOCK_OCTETS,
    ]
    assert [len(block) for block in read(payload_of([b"z" * 131_072]))] == [
        BLOCK_OCTETS,
        BLOCK_OCTETS,
    ]


def test_async_iterable() -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield "Subject: grå\r\n\r\n".encode()
        yield b"x"

    payload = payload_of(blocks())
    assert payload.utf8_reason == "header field Subject"
    assert payload.is_eight_bit is True
    assert read(payload) == ["Subject: grå\r\n\r\nx".encode()]


def test_async_iterable_that_looks_like_a_file() -> None:
    """What a session reads can be sent on as it is."""

    class Readable:
        async def read(self) -> bytes:
            raise AssertionError("it is a stream")

        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"a\n"
            yield b"b\n"

    source: Any = Readable()
    assert isinstance(source, BinaryFile)
    assert read(payload_of(source)) == [b"a\nb\n"]


def test_empty_stream() -> None:
    payload = payload_of(iter(()))
    assert payload.utf8_reason == ""
    assert read(payload) == []


def test_blocks_are_bytes() -> None:
    async def texts() -> AsyncIterator[str]:
        yield "x"

    for source in (["x"], texts()):
        with pytest.raises(TypeError, match="not str"):
            payload_of(source)  # type: ignore[arg-type]


# --- EmailMessage. ---


def test_message_is_written_with_crlf_and_without_bcc() -> None:
    message = simple(Bcc="secret@c.test", Resent_Bcc="secret@d.test", Subject="grå")
    payload = payload_of(message)
    assert payload.content is not None
    assert b"secret" not in payload.content
    assert b"Subject: =?utf-8?q?gr=C3=A5?=\r\n" in payload.content
    assert payload.content.endswith(b"\r\nhello\r\n")
    assert b"\n" not in payload.content.replace(b"\r\n", b"")
    assert payload.size == len(payload.content)
    assert message["Bcc"] == "secret@c.test"


def test_older_message_class() -> None:
    message = MIMEMultipart()
    message["From"] = "a@a.test"
    message["To"] = "b@b.test, C <c@c.test>"
    message["Bcc"] = "d@d.test"
    message.attach(MIMEText("grå\n", _charset="utf-8"))
    payload = payload_of(message)
    assert payload.content is not None
    assert b"d@d.test" not in payload.content
    assert addresses_of(message) == ("a@a.test", ["b@b.test", "c@c.test", "d@d.test"])


def test_parsed_message_goes_through() -> None:
    text = (
        b"From: a@a.test\r\nTo: b@b.test\r\nX-Long: one\r\n two\r\n\tthree\r\n\r\nx\r\n"
    )
    for policy in (email.policy.default, email.policy.compat32):
        payload = payload_of(email.message_from_bytes(text, policy=policy))
        assert payload.content is not None
        assert payload.content.replace(b"\r\n two\r\n\t", b" two\t") == (
            text.replace(b"\r\n two\r\n\t", b" two\t")
        )


def test_body_over_127_can_be_downgraded() -> None:
    message = simple()
    message.set_content("grå\n", cte="8bit")
    payload = payload_of(message)
    assert payload.is_eight_bit is True
    downgraded = payload.downgraded()
    assert downgraded is not None
    assert downgraded.content is not None
    assert downgraded.content.isascii()
    assert downgraded.is_eight_bit is False
    parsed = email.message_from_bytes(downgraded.content, policy=email.policy.default)
    assert parsed.get_content() == "grå\n"


def test_binary_part_becomes_base64() -> None:
    """The standard library writes lines, and would damage it."""
    binary = bytes(range(256))
    message = simple()
    message.add_attachment(
        binary, maintype="application", subtype="octet-stream", cte="binary"
    )
    payload = payload_of(message)
    assert payload.content is not None
    parsed = email.message_from_bytes(payload.content, policy=email.policy.default)
    (attachment,) = parsed.iter_attachments()
    assert attachment.get_content() == binary
    (original,) = message.iter_attachments()
    assert original["Content-Transfer-Encoding"] == "binary"


@pytest.mark.parametrize("field", ["From", "To", "Cc", "Reply_To", "Sender"])
def test_address_over_127_needs_smtputf8(field: str) -> None:
    payload = payload_of(simple(**{field: "grå@b.test"}))
    assert payload.utf8_reason == (
        f"address grå@b.test in header field {field.replace('_', '-')}"
    )
    assert payload.content is not None
    assert "grå@b.test".encode() in payload.content
    assert payload.downgraded() is None


@pytest.mark.parametrize("field", ["From", "To", "Cc", "Reply_To", "Resent_To"])
def test_a_domain_over_127_has_another_form(field: str) -> None:
    message = simple(**{field: "Ann Ö <a@bücher.test>, Team: b@grün.test, c@c.test;"})
    payload = payload_of(message)
    assert "bücher" in payload.utf8_reason
    ascii_form = payload.with_ascii_domains()
    assert ascii_form is not None
    assert ascii_form.utf8_reason == ""
    assert ascii_form.content is not None
    name = field.replace("_", "-")
    found = email.message_from_bytes(ascii_form.content, policy=email.policy.default)
    assert [one.addr_spec for one in found[name].addresses] == [
        *("a@xn--bcher-kva.test", "b@xn--grn-ioa.test", "c@c.test")
    ]
    assert found[name].addresses[0].display_name == "Ann Ö"
    assert [group.display_name for group in found[name].groups] == [None, "Team"]
    assert "bücher" in str(message[name]), "the caller's is as it was"


def test_a_local_part_over_127_has_no_other_form() -> None:
    message = simple(To="a@bücher.test, grå@b.test")
    assert payload_of(message).with_ascii_domains() is None
    assert payload_of(simple()).with_ascii_domains() is None
    assert payload_of("Subject: Grüße\r\n\r\nx").with_ascii_domains() is None


def test_an_older_message_keeps_its_domains() -> None:
    message = Message()
    message["From"] = "a@a.test"
    message["To"] = "b@bücher.test"
    message.set_payload("x")
    payload = payload_of(message)
    assert "bücher" in payload.utf8_reason
    assert payload.with_ascii_domains() is None


@pytest.mark.parametrize(
    ("keywords", "parameters", "domain"),
    [
        (("SMTPUTF8", "8BITMIME"), " BODY=8BITMIME SMTPUTF8", "bücher.test"),
        ((), "", "xn--bcher-kva.test"),
    ],
)
def test_a_domain_goes_in_the_form_that_the_server_takes(
    keywords: tuple[str, ...], parameters: str, domain: str
) -> None:
    message = simple(To="b@bücher.test")
    script = f"""{hello(*keywords)}
        C: MAIL FROM:<a@a.test>{parameters}
        S: 250 ok
        C: RCPT TO:<b@{domain}>
        S: 550 no
    """
    scripted = Scripted(script)
    with pytest.raises(RecipientsRefused):
        scripted(lambda client: client.send(message))
    scripted.require_end()


def test_name_over_127_needs_nothing() -> None:
    payload = payload_of(simple(To="Grå <b@b.test>"))
    assert payload.utf8_reason == ""
    assert payload.is_eight_bit is False


# --- Header values that break out. ---


def poisoned(name: str, value: str) -> Message:
    message = Message()
    message["From"] = "a@a.test"
    message["To"] = "b@b.test"
    message[name] = value
    message.set_payload("x")
    return message


@pytest.mark.parametrize(
    "value",
    [
        "x\r\nBcc: evil@x.test",
        "x\nBcc: evil@x.test",
        "x\rBcc: evil@x.test",
        "x\r\n\r\nbody",
        "x\n\nbody",
        "x\n",
        "x\0",
    ],
)
def test_value_with_a_line_end_is_refused(value: str) -> None:
    """CVE-2024-6923, CVE-2026-1299."""
    with pytest.raises(UnsafeOctets, match="Subject"):
        payload_of(poisoned("Subject", value))


@pytest.mark.parametrize("name", ["X\r\nBcc", "X Y", "X\n", "", "Grå", "X: a\nBcc"])
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises((UnsafeOctets, ValueError)):
        payload_of(poisoned(name, "evil@x.test"))


def test_encoded_word_with_a_line_end_is_refused() -> None:
    """Decoded and written again, it would be a field of its own."""
    text = (
        b"From: a@a.test\r\nTo: b@b.test\r\n"
        b"Subject: =?utf-8?q?x=0D=0ABcc=3A_evil=40x=2Etest?=\r\n\r\nx\r\n"
    )
    message = email.message_from_bytes(text, policy=email.policy.default)
    try:
        payload = payload_of(message)
    except UnsafeOctets:
        return
    assert payload.content is not None
    assert b"\r\nBcc" not in payload.content


def test_value_in_a_part_is_checked_too() -> None:
    message = MIMEMultipart()
    message["From"] = "a@a.test"
    part = MIMEText("x")
    part["X-Name"] = "a\r\n\r\n<script>"
    message.attach(part)
    with pytest.raises(UnsafeOctets, match="X-Name"):
        payload_of(message)


def test_field_that_appears_only_in_writing_is_refused() -> None:
    """Whatever a policy makes of a value: what is written counts."""

    class Loose(email.policy.EmailPolicy):
        def fold_binary(self, name: str, value: str) -> bytes:
            return f"{name}: {value}\r\nBcc: evil@x.test\r\n".encode()

    message = email.message_from_bytes(b"From: a@a.test\r\n\r\nx", policy=Loose())
    with pytest.raises(UnsafeOctets, match="field of its own"):
        payload_of(message)


BREAKING_OUT = ["x\r\nBcc: evil@x.test", "x\nBcc: evil@x.test", "x\r\n\r\nx", "x\0"]


def with_part() -> tuple[EmailMessage, EmailMessage]:
    """Return a message and its attachment."""
    message = simple()
    message.add_attachment("text")
    (part,) = message.iter_attachments()
    assert isinstance(part, EmailMessage)
    return message, part


@pytest.mark.parametrize("value", BREAKING_OUT)
def test_what_is_put_into_a_part_past_its_policy_is_checked(value: str) -> None:
    """`items` shows such a value without its line ends; it is written with them."""
    message, part = with_part()
    part._headers.append(("X-Name", value))  # type: ignore[attr-defined]
    with pytest.raises(UnsafeOctets, match="X-Name"):
        payload_of(message)


@pytest.mark.parametrize("value", BREAKING_OUT[:3])
def test_a_value_of_a_part_that_writes_itself_is_checked(value: str) -> None:
    class Folding(str):
        name = "X-Name"

        def fold(self, *, policy: email.policy.Policy) -> str:
            return f"X-Name: {value}\r\n"

    message, part = with_part()
    part._headers.append(("X-Name", Folding("harmless")))  # type: ignore[attr-defined]
    with pytest.raises(UnsafeOctets, match="X-Name"):
        payload_of(message)


def test_a_policy_that_keeps_line_ends_in_a_part() -> None:
    class Keeping(email.policy.EmailPolicy):
        def header_store_parse(self, name: str, value: str) -> tuple[str, str]:
            return name, value

    message = simple()
    part = EmailMessage(policy=Keeping())
    part["X-Name"] = "x\r\nBcc: evil@x.test"
    part.set_content("text")
    message.make_mixed()
    message.attach(part)
    with pytest.raises(UnsafeOctets, match="X-Name"):
        payload_of(message)


def test_a_forwarded_message_keeps_its_folded_fields() -> None:
    inner = email.message_from_bytes(
        b"Subject: one\r\n two\r\nX-Long: a\r\n\tb\r\n\r\nx\r\n",
        policy=email.policy.default,
    )
    message = simple()
    message.add_attachment(inner)
    content = payload_of(message).content
    assert content is not None
    assert b"Subject: one\r\n two\r\nX-Long: a\r\n\tb\r\n" in content


# --- Lines that are too long. ---


def parsed(source: Message) -> EmailMessage:
    content = payload_of(source).content
    assert content is not None
    assert max(map(len, content.split(b"\r\n"))) <= 998
    found = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


@pytest.mark.parametrize("length", [998, 999])
@pytest.mark.parametrize("subtype", ["plain", "html"])
def test_text_with_a_long_line_is_encoded(length: int, subtype: str) -> None:
    text = f"short\n{'x' * length}\n"
    message = email.message_from_string(
        f"From: a@a.test\nContent-Type: text/{subtype}\n\n{text}",
        policy=email.policy.default,
    )
    found = parsed(message)
    assert found.get_content().replace("\r\n", "\n") == text
    encoding = None if length == 998 else "quoted-printable"
    assert found["Content-Transfer-Encoding"] == encoding
    assert message["Content-Transfer-Encoding"] is None, "the caller's is as it was"


def test_other_parts_with_a_long_line_become_base64() -> None:
    message = simple()
    message.make_mixed()
    part = email.message_from_string(
        "Content-Type: application/json\n\n" + '"' + "x" * 2_000 + '"\n',
        policy=email.policy.default,
    )
    message.attach(part)
    (_, found) = parsed(message).iter_parts()
    assert found["Content-Transfer-Encoding"] == "base64"
    assert found.get_content() == b'"' + b"x" * 2_000 + b'"\n'


def test_a_signed_part_is_not_changed() -> None:
    text = (
        "From: a@a.test\nContent-Type: multipart/signed; boundary=b\n\n"
        f"--b\nContent-Type: text/plain\n\n{'x' * 1_000}\n"
        "--b\nContent-Type: application/pgp-signature\n\nx\n--b--\n"
    )
    message = email.message_from_string(text, policy=email.policy.default)
    content = payload_of(message).content
    assert content is not None
    assert b"x" * 1_000 in content
