"""What the fuzzers begin with: the transcripts, and a line for each grammar."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpx.testing.steps import ClientSays, ServerOctets, ServerSays, TranscriptError
from smtpx.testing.transcripts import read_transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["seeds_of"]

_TRANSCRIPTS: Final = Path(__file__).parent.parent / "tests" / "transcripts"

# Before the octets of a session: SMTP, the usual limits, four decisions, a cut.
_USUAL: Final = b"\0\0\0\0\0\0\7"
_LMTP: Final = b"\1" + _USUAL[1:]

_MESSAGE: Final = (
    b"From: =?utf-8?q?J=C3=B6rg?= <j@x.test>\r\nTo: a@b.test, G: c@d, e;\r\n"
    b"Subject: =?iso-8859-1?b?4Q==?=\r\nDate: Sun, 22 Nov 2026 16:00:00 +0100\r\n"
    b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n--x\r\n'
    b"Content-Type: text/plain; charset*=utf-8''x\r\n\r\nhi\r\n--x\r\n"
    b'Content-Disposition: attachment; filename*0="a/b"\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\naGk=\r\n--x--\r\n"
)
_SIGNATURE: Final = (
    b"v=1; a=rsa-sha256; c=relaxed/simple; d=d.test; s=s; h=from:to; t=1600000000;"
    b" bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=YWJj; i=1; cv=none"
)
_HEADER: Final = (
    b"DKIM-Signature: %b\r\nARC-Authentication-Results: i=1; mx; spf=pass\r\n"
    b"ARC-Message-Signature: %b\r\nARC-Seal: i=1; cv=none; a=rsa-sha256; d=d.test;"
    b" s=s; b=YWJj\r\nFrom: a@d.test\r\n\r\nbody\r\n" % (_SIGNATURE, _SIGNATURE)
)

_LINES: Final[dict[str, tuple[bytes, ...]]] = {
    "address": (
        *(b"<a@b.test>", b'<"a b\\""@[192.0.2.1]>', b"<@r.test,@s.test:a@b>"),
        *(b"a@[IPv6:2001:db8::1]", "<grå@bücher.test>".encode(), b"<postmaster>"),
    ),
    "reply": (b"\7\0\0250-2.0.0 a\r\n250 2.0.0 b\r\n", b"\7\1\1334 YQ==\n421\r\n"),
    "command": (
        b"MAIL FROM:<a@b.test> SIZE=5 BODY=8BITMIME RET=HDRS ENVID=x+2By SMTPUTF8",
        b"RCPT TO:<a@b.test> NOTIFY=NEVER ORCPT=rfc822;a+40b RRVS=2014-04-03T23:01:00Z",
        *(b"BDAT 5 LAST", b"AUTH PLAIN AHVzZXIAcA==", b"EHLO [IPv6:::1]", b"ETRN @x"),
        *(
            b"XCLIENT ADDR=192.0.2.1 NAME=a",
            b"XFORWARD IDENT=1 SOURCE=LOCAL",
            b"NOOP x",
        ),
    ),
    "parameters": (
        *(b"SIZE=5 BODY=8BITMIME AUTH=<>", b"BY=120;R MT-PRIORITY=3 HOLDFOR=60"),
        *(
            b"HOLDUNTIL=2026-01-02T00:00:00Z SOLICIT=a:b XOORG=x",
            b"RET=FULL REQUIRETLS",
        ),
        b"NOTIFY=SUCCESS,DELAY ORCPT=utf-8;gr\\x{E5}@b RRVS=2014-04-03T23:01:00Z;C",
    ),
    "capabilities": (
        b"SIZE 5\nAUTH=LOGIN\nAUTH PLAIN\nLIMITS RCPTMAX=5 MAILMAX=x",
        b"AUTH=YL4\n\x1eAUTH=LT",  # found: white space before AUTH=
    ),
    "xtext": (b"a+2Bb", b"gr\\x{E5}@b", b"YWI="),
    "proxy": (
        b"\3PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nEHLO",
        b"\3PROXY TCP6 ::1 2001:db8::1 1 2\r\n",
        b"\3PROXY UNKNOWN\r\n",
        b"\3\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\1\2\3\4\5\6\7\x08\0\1\0\2\x02\0\5a.com",
    ),
    "forwarded": (b"NAME=a ADDR=IPV6:::1 PORT=5 PROTO=ESMTP HELO=x+2By LOGIN=u",),
    "decoding": (b"\3a\r\n..b\r\n.\r\nQUIT", b"\2a\n.\n.\r\nb\r\n.\n\r\n.\r\n"),
    "encoding": (b"\3.a\n.\r\n\r.b\r\n..", b"\5a\r\r\n.\r\n"),
    "buffer": (b"\3\5\2NOOP\r\nlong line here\r\nx\r",),
    "client_replies": (
        b"\5\0\x91220 mx.test\r\n\0\xa0250-mx\r\n250 PIPELINING\r\n\3\6\7",
        b"\5\1\x86220 x\r\n\2\x87250 mx\r\n",
    ),
    "server_commands": (
        b"\0\0\0\0\0\0\0\3\5\x18\7.\r\n.\r\nx\3\5\x1c\3abc\x1d\2de\x0b",
        b"\1\0\0\0\0\0\1\3\5\6\x18\2hi",
    ),
    "conversation": (b"\0\0\0\0\0\0\0\3\5a\n.\nb\1\2\4.\r\n.",),
    "message": (_MESSAGE,),
    "words": (
        *(
            b"=?utf-8?q?J=C3=B6rg?= <j@x>",
            b"a: b@c, d (e) <f@g>;",
            b"a/b; c*0*=utf-8''x",
        ),
        *(b"Sun, 22 Nov 2026 16:00:00 +0100", b"\5cp437abc", b"user+tag@x"),
        b"a/; c*0*=u\xcbf-8, d",  # found: octets that are no UTF-8
    ),
    "results": (
        b'mx.test 1; dkim=fail (bad) reason="no" header.d=a.b; spf=pass',
        b"Authentication-Results: mx.test; none\r\n\r\n",
        b"mx.test 1; dkim=fail action=none.=a.b",  # found: a property without a type
    ),
    "tags": (
        _SIGNATURE,
        b"v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwI=",
        b"v=DMARC1; p=reject; sp=none; rua=mailto:a@b!5m; adkim=s; psd=y",
    ),
    "canonical": (b"X:  a \r\n\tb\r\n\r\n a  b \r\n\r\n",),
    "signed": (b"\x10v=DKIM1; p=YWJj;" + _HEADER,),
    "spf": (b"\x12include:e.test -all\x10mx/24 a:d.test ~ax@e.test",),
    "maildir": (b"\3a\r\nb\rc\n",),
    "mbox": (b"\3\x0eFrom x\r\n>From \4a\r\n\r",),
    "mbox_file": (b"a\n\nFrom b\nx\n>From y\n",),
}


def seeds_of(name: str) -> list[bytes]:
    """Return what a target begins with, beside its corpus."""
    seeds = [*_LINES.get(name, (b"",))]
    if name == "server_octets":
        seeds += [_USUAL + said for said, _ in _dialogues()]
        seeds += [_LMTP + said for said, _ in _dialogues() if said[:4] == b"LHLO"]
    elif name == "transcript":
        seeds += [b"# a rule\nclient noop -> raised\n"]  # found: raised what?
        seeds += [path.read_bytes() for path in _files() if path.stat().st_size < 700]
    elif name == "reply":
        seeds += [b"\7\0\0" + heard for _, heard in _dialogues() if len(heard) < 500]
    elif name in {"decoding", "encoding"}:
        seeds += [b"\3" + said for said, _ in _dialogues() if b"\r\n.\r\n" in said]
    elif name.endswith(("_server", "_client")):
        seeds += [bytes([len(one)]) + one for one in _SASL]
        seeds += [b"\1" + one for one in seeds if one]
    return seeds


_SASL: Final = (
    *(
        b"",
        b"\0user\0pencil",
        b"user",
        b"pencil",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    ),
    *(
        b"n,a=user,\1auth=Bearer vF9dft4qmTc2Nvb3Rl\1\1",
        b"user dcab0f8e",
    ),
    *(b"user=user\1auth=Bearer vF9dft4qmTc2Nvb3Rl\1\1", b'{"status":"401"}'),
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"p=tls-exporter,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
)


@cache
def _files() -> tuple[Path, ...]:
    return tuple(sorted(_TRANSCRIPTS.rglob("*.txt")))


@cache
def _dialogues() -> tuple[tuple[bytes, bytes], ...]:
    """Return what is said in each transcript: by the client, and by the server."""
    return tuple(_read(path) for path in _files())


def _read(path: Path) -> tuple[bytes, bytes]:
    try:
        steps: Iterable[object] = read_transcript(path).steps
    except TranscriptError:
        return b"", b""
    said, heard = bytearray(), bytearray()
    for step in steps:
        if isinstance(step, ClientSays):
            said += step.octets
        elif isinstance(step, ServerSays | ServerOctets):
            heard += step.octets if isinstance(step, ServerOctets) else step.octets()
    return bytes(said[:2_000]), bytes(heard)
