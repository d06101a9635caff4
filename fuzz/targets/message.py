"""Messages and what is written into them: reading never fails, writing never leaks."""

from __future__ import annotations

from fuzz.source import Source, allow
from smtpx.errors import BadSyntax, UnsafeOctets
from smtpx.message.addresses import parse_addresses, split_address
from smtpx.message.fields import make_field, parse_header
from smtpx.message.parsed import parse_date, parse_message
from smtpx.message.reports import parse_report
from smtpx.message.results import (
    AuthenticationResults,
    MethodResult,
    remove_forged_results,
)
from smtpx.message.words import decode_charset, decode_words, parse_parameters

__all__ = ["message", "results", "words"]


def message(octets: bytes) -> None:
    """The header and the parts of a message, and what it says."""
    header, start = parse_header(octets)
    assert 0 <= start <= len(octets)
    # Every octet of every field, and nothing between them.
    assert header.encode() in octets[:start]
    parsed = parse_message(octets)
    for name in ("subject", "text", "html"):
        assert isinstance(getattr(parsed, name), str)
    for name in ("from_", "to", "cc", "bcc", "sender", "reply_to", "date", "resent"):
        getattr(parsed, name)
    for name in ("message_id", "in_reply_to", "references", "hops", "is_automatic"):
        getattr(parsed, name)
    assert all(isinstance(defect, str) for defect in parsed.defects)
    for one in (*parsed.attachments, *parsed.embedded):
        assert isinstance(one.data, bytes)
        # It is made a file name: nothing in it leads elsewhere.
        assert one.safe_name not in {"", ".", ".."}
        assert not {"/", "\\", "\0"} & {*one.safe_name}
    for leaf in parsed.root.leaves():
        assert leaf.octets in octets
    parse_report(parsed)


def words(octets: bytes) -> None:
    """What fields hold: encoded words, parameters, addresses, dates; and new fields."""
    text = octets.decode("utf-8", "surrogateescape")
    assert isinstance(decode_words(text), str)
    kind, parameters = parse_parameters(text)
    assert isinstance(kind, str)
    assert all(name == name.lower() for name in parameters)
    for one in parse_addresses(text):
        assert one.mailbox is None or str(one.mailbox)
        assert isinstance((str(one), one.domain), tuple)
    allow(BadSyntax, lambda: split_address(text))
    date = parse_date(text)
    assert date is None or date.tzinfo is not None
    source = Source(octets)
    charset = source.word().decode("latin-1")
    assert isinstance(decode_charset(source.rest(), charset)[0], str)
    field = allow(UnsafeOctets, lambda: make_field("Subject", text))
    if field is not None:
        # It is one field, whatever follows, and says what it was made of.
        found, _ = parse_header(field.octets + b"X: y\r\n\r\n")
        assert [one.name for one in found.fields] == ["Subject", "X"]
        assert found.fields[0].unfolded == text.encode().strip(b" \t")


def results(octets: bytes) -> None:
    """Authentication-Results: read, and written from whatever somebody said."""
    text = octets.decode("utf-8", "replace")
    parsed = allow(BadSyntax, lambda: AuthenticationResults.parse(text))
    if parsed is not None:
        _write(parsed)
    source = Source(octets)
    # The names are ours; what they say is what somebody else said.
    reason, value, comment = (source.word().decode("utf-8", "replace") for _ in "123")
    made = MethodResult("dkim", "fail", reason, (("header.d", value),), comment)
    _write(AuthenticationResults(source.text(), (made, made)))
    header, _ = parse_header(octets)
    kept = remove_forged_results(header, "mx.test")
    assert {*kept.fields} <= {*header.fields}


def _write(results: AuthenticationResults) -> None:
    field = results.to_field()
    found, _ = parse_header(field.octets + b"X: y\r\n\r\n")
    assert [one.name for one in found.fields] == ["Authentication-Results", "X"]
    read = AuthenticationResults.parse(found.fields[0].text)
    # It says as much as it was told, and nobody put a result of his own into it.
    assert len(read.results) == len(results.results)
    assert AuthenticationResults.parse(read.to_field().text) == read
