"""The grammar: what is parsed is what is written, and what is written is parsed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from fuzz.source import Source, allow, pieces_of
from smtpx.errors import BadAddress, BadParameter, BadProxyHeader, BadReply, BadSyntax
from smtpx.wire.address import (
    Mailbox,
    quote_local_part,
    take_forward_path,
    take_reverse_path,
)
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.commands import Command, Mail, Rcpt
from smtpx.wire.domains import parse_domain, parse_hello_name, parse_literal
from smtpx.wire.forwarded import XClient, XForward, parse_xclient, parse_xforward
from smtpx.wire.grammar import DEFAULT_GRAMMAR as STRICT
from smtpx.wire.grammar import Grammar, parse_command
from smtpx.wire.octets import (
    decode_base64,
    decode_utf8_addr,
    decode_xtext,
    encode_base64,
    encode_utf8_addr_unitext,
    encode_utf8_addr_xtext,
    encode_xtext,
    escape_octets,
)
from smtpx.wire.options import MailOptions, RcptOptions
from smtpx.wire.params import (
    MAIL_PARAMETERS,
    RCPT_PARAMETERS,
    EncodeContext,
    encode_parameters,
    parse_parameters,
)
from smtpx.wire.preamble import ProxyDecoder, ProxyHeader, parse_proxy_header
from smtpx.wire.proxy_tlvs import TLVType
from smtpx.wire.replies import MAX_REPLY_LINE_OCTETS, Reply
from smtpx.wire.reply_decoder import ReplyDecoder, ReplyLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "address",
    "capabilities",
    "command",
    "forwarded",
    "parameters",
    "proxy",
    "reply",
    "xtext",
]

_LENIENT = Grammar(verbs=STRICT.verbs, lenient_paths=True)
_UTF8 = EncodeContext(smtputf8=True)
_CONTROLS = frozenset(range(0x20)) | {0x7F}


def _is_one_line(octets: bytes) -> None:
    """Require a command line whose only line end is its last."""
    assert octets.endswith(b"\r\n")
    assert not _CONTROLS & {*octets[:-2]}


def address(octets: bytes) -> None:
    """Mailboxes, paths, domains, HELO names."""
    _check_path(take_reverse_path, octets)
    _check_path(take_forward_path, octets)
    text = octets.decode("utf-8", "surrogateescape")
    mailbox = allow(BadAddress, lambda: Mailbox.parse(text))
    if mailbox is not None:
        assert str(mailbox) == text
        _check_mailbox(mailbox)
    quoted = allow(BadAddress, lambda: quote_local_part(text))
    if quoted is not None:
        assert Mailbox(quoted, "b").local_part_unquoted == text
    domain = allow(BadAddress, lambda: parse_domain(octets))
    if domain is not None:
        assert domain.encode() == octets
    allow(BadAddress, lambda: parse_literal(text))
    name = allow(BadSyntax, lambda: parse_hello_name(octets))
    lenient_name = allow(BadSyntax, lambda: parse_hello_name(octets, lenient=True))
    assert name is None or name == lenient_name


class _Take(Protocol):
    """Either of the functions that take a path."""

    def __call__(
        self, line: bytes, start: int, *, lenient: bool = False
    ) -> tuple[Mailbox | None, int]: ...


def _check_path(take: _Take, octets: bytes) -> None:
    strict = allow(BadAddress, lambda: take(octets, 0))
    lenient = allow(BadAddress, lambda: take(octets, 0, lenient=True))
    assert strict is None or strict == lenient
    for taken in (strict, lenient):
        if taken is not None:
            assert 0 < taken[1] <= len(octets)
            _check_mailbox(taken[0])


def _check_mailbox(mailbox: Mailbox | None) -> None:
    if mailbox is None:
        return
    octets = mailbox.encode()
    assert not _CONTROLS & {*octets}
    assert Mailbox.parse(str(mailbox)) == mailbox
    assert Mailbox(mailbox.local_part, mailbox.domain) == mailbox
    assert take_forward_path(b"<%b> x" % octets, 0) == (mailbox, len(octets) + 2)
    assert mailbox.is_same_mailbox(mailbox)
    assert mailbox.domain_ascii.isascii()
    assert isinstance(mailbox.domain_unicode, str)
    assert mailbox.literal is None or mailbox.domain.startswith("[")
    requoted = Mailbox(quote_local_part(mailbox.local_part_unquoted), mailbox.domain)
    assert requoted.is_same_mailbox(mailbox)


def reply(octets: bytes) -> None:
    """Replies, in any pieces, and as they are written."""
    source = Source(octets)
    seed, is_small, is_lenient = source.octet(), source.flag(), source.flag()
    limits = ReplyLimits(max_line_octets=60, max_lines=4, max_octets=150)
    stream = source.rest()
    heard = []
    for pieces in ([stream], pieces_of(stream, 0), pieces_of(stream, seed)):
        decoder = ReplyDecoder(*([limits] if is_small else []), is_lenient=is_lenient)
        heard.append(_hear(decoder, pieces))
    assert heard[0] == heard[1] == heard[2]
    for one in heard[0][0]:
        wire = one.encode()
        assert wire.endswith(b"\r\n")
        again = ReplyDecoder()
        again.feed(wire)
        read = again.next_reply()
        assert read is not None
        assert not again.has_partial
        assert (read.code, read.enhanced) == (one.code, one.enhanced)
        lines = wire.split(b"\r\n")[:-1]
        assert one.code == 334 or max(map(len, lines)) <= MAX_REPLY_LINE_OCTETS - 2
        if len(lines) == len(one.lines):  # none was folded
            assert read == one


def _hear(decoder: ReplyDecoder, pieces: Iterable[bytes]) -> tuple[list[Reply], bool]:
    replies: list[Reply] = []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (one := decoder.next_reply()) is not None:
                replies.append(one)
    except BadReply:
        return replies, True
    return replies, False


def command(octets: bytes) -> None:
    """Command lines."""
    strict = _parse(octets, STRICT)
    lenient = _parse(octets, _LENIENT)
    assert strict is None or strict == lenient
    if lenient is None:
        return
    line = _encode(lenient)
    if line is None:
        return
    _is_one_line(line)
    assert parse_command(line[:-2]) == lenient


def _parse(octets: bytes, grammar: Grammar) -> Command | None:
    try:
        return parse_command(octets, grammar)
    except BadSyntax as error:
        # It is what the client is told: a reply can be made of it, of one line.
        made = Reply(error.code, error.enhanced, error.text)
        assert made.code in {500, 501, 502, 553, 555}
        assert made.encode().count(b"\r\n") == len(made.encode().split(b"\r\n")) - 1
        return None


def _encode(command: Command) -> bytes | None:
    """Write a command; one of the parsers' leniencies has no strict form."""
    if isinstance(command, Rcpt):
        return command.encode(context=_UTF8)
    if isinstance(command, XClient | XForward):
        # Their lines have a limit that reading them has not.
        return allow(BadParameter, command.encode)
    return command.encode()


def parameters(octets: bytes) -> None:
    """Parameters of MAIL and RCPT: each that is understood can be said."""
    values = allow(BadParameter, lambda: parse_parameters(octets, MAIL_PARAMETERS))
    if values is not None:
        options = MailOptions(**values)
        wire = encode_parameters(options, MAIL_PARAMETERS, _UTF8)
        assert MailOptions(**parse_parameters(wire, MAIL_PARAMETERS)) == options
        assert Mail(None, options).encode().count(b"\r\n") == 1
    values = allow(BadParameter, lambda: parse_parameters(octets, RCPT_PARAMETERS))
    if values is not None:
        rcpt_options = RcptOptions(**values)
        for context in (_UTF8, EncodeContext()):
            wire = encode_parameters(rcpt_options, RCPT_PARAMETERS, context)
            assert not _CONTROLS & {*wire}
            again = RcptOptions(**parse_parameters(wire, RCPT_PARAMETERS))
            assert again == rcpt_options


def capabilities(octets: bytes) -> None:
    """The lines of EHLO's reply."""
    text = octets.decode("utf-8", "surrogateescape")
    found = Capabilities.parse(text.split("\n"))
    assert Capabilities.parse(found.lines()) == found
    assert all(keyword.lower() in found for keyword in found if keyword.isascii())
    assert found.size is None or 0 < found.size < 10**20
    assert all(name == name.upper() for name in found.auth_mechanisms)
    assert all(value >= 0 for value in found.limits.values())
    assert hash(found) == hash(Capabilities.parse(found.lines()))


def xtext(octets: bytes) -> None:
    """xtext, UTF-8 addresses, base64, escapes."""
    assert decode_xtext(encode_xtext(octets)) == octets
    decoded = allow(BadParameter, lambda: decode_xtext(octets))
    if decoded is not None:
        assert decode_xtext(encode_xtext(decoded)) == decoded
    address = allow(BadParameter, lambda: decode_utf8_addr(octets))
    if address is not None:
        for encode in (encode_utf8_addr_xtext, encode_utf8_addr_unitext):
            assert decode_utf8_addr(encode(address)) == address
        assert encode_utf8_addr_xtext(address).isascii()
    assert decode_base64(encode_base64(octets)) == octets
    plain = allow(BadSyntax, lambda: decode_base64(octets))
    assert plain is None or encode_base64(plain) == octets
    assert escape_octets(octets).isprintable()


def proxy(octets: bytes) -> None:
    """PROXY headers of both versions, in any pieces."""
    source = Source(octets)
    seed = source.octet()
    stream = source.rest()
    results = [
        _read_proxy(pieces)
        for pieces in ([stream], pieces_of(stream, 0), pieces_of(stream, seed))
    ]
    assert results[0] == results[1] == results[2]
    # Who reads no more than is missing never reads what is not the header's.
    decoder = ProxyDecoder(4_096)
    position = 0
    try:
        while decoder.header is None and position < len(stream):
            size = decoder.missing
            assert size > 0
            decoder.feed(stream[position : position + size])
            position += size
    except BadProxyHeader:
        assert results[0][0] is None
        return
    assert (decoder.header, decoder.rest) == (results[0][0], b"") or not decoder.header
    header = decoder.header
    if header is None:
        return
    assert isinstance((header.alpn, header.unique_id), tuple)
    allow(BadProxyHeader, lambda: (header.tls, header.authority, header.namespace))
    wire = header.encode()
    # A checksum is that of the header's octets, and those of addresses that are not
    # taken are not written again.
    assert _without_checksum(parse_proxy_header(wire)) == _without_checksum(header)
    assert header.version == 2 or len(wire) <= 107


def _without_checksum(header: ProxyHeader) -> ProxyHeader:
    tlvs = tuple(one for one in header.tlvs if one.type != TLVType.CRC32C)
    return replace(header, tlvs=tlvs)


def _read_proxy(pieces: Iterable[bytes]) -> tuple[ProxyHeader | None, bytes, bool]:
    decoder = ProxyDecoder(4_096)
    try:
        for piece in pieces:
            decoder.feed(piece)
    except BadProxyHeader:
        return None, b"", True
    return decoder.header, decoder.rest if decoder.header else b"", False


def forwarded(octets: bytes) -> None:
    """The attributes of XCLIENT and XFORWARD."""
    client = allow(BadParameter, lambda: parse_xclient(octets))
    if client is not None:
        wire = allow(BadParameter, client.encode)
        if wire is not None:
            _is_one_line(wire)
            assert parse_xclient(wire[8:-2]) == client
        assert client.followed_by(client) == client
    forward = allow(BadParameter, lambda: parse_xforward(octets))
    if forward is None:
        return
    joined = None
    for part in allow(BadParameter, forward.split) or ():
        # A value that only a leniency reads may be too long in xtext.
        wire = allow(BadParameter, part.encode)
        if wire is None:
            return
        _is_one_line(wire)
        assert len(wire) <= 512
        read = parse_xforward(wire[9:-2])
        joined = read if joined is None else joined.followed_by(read)
    assert joined is None or joined == forward
