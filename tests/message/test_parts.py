"""The structure of a message, broken or nested too deep."""

from __future__ import annotations

import binascii

import pytest

from smtpx.message.fields import HeaderLimits
from smtpx.message.parts import PartLimits, parse_parts

TOP = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"


def bodies(octets: bytes) -> list[bytes]:
    return [part.octets for part in parse_parts(octets).leaves()]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"--x\r\n\r\na\r\n--x\r\n\r\nb\r\n--x--\r\n", [b"a", b"b"]),
        (b"--x\n\na\n--x\n\nb\n--x--\n", [b"a", b"b"]),
        (b"pre\r\n--x\r\n\r\na\r\n--x--\r\nepi\r\n", [b"a"]),
        (b"--x \t\r\n\r\na\r\n--x-- \r\n", [b"a"]),
        (b"--x\r\n\r\na\r\n--x", [b"a", b""]),
        (b"--x\r\n\r\na", [b"a"]),
        (b"--x\r\n\r\n--xy\r\n--y\r\n -- x\r\n--x--", [b"--xy\r\n--y\r\n -- x"]),
        (b"--x\r\n--x--", [b""]),
        (b"--x\r\nA: 1\r\n--x\r\n\r\nb\r\n--x--", [b"", b"b"]),
        (b"--x\r\n\r\n\r\n--x--", [b""]),
        (b"--x\r\n\r\na\r\n--x--\r\n--x\r\n\r\nb\r\n", [b"a"]),
        (b"x--x\r\n\r\na\r\n--x\r\n\r\nb\r\n--x--", [b"b"]),
    ],
)
def test_boundaries(body: bytes, expected: list[bytes]) -> None:
    assert bodies(TOP + body) == expected


def test_nested() -> None:
    root = parse_parts(
        TOP + b"--x\r\nContent-Type: multipart/alternative; boundary=x.y\r\n\r\n"
        b"--x.y\r\n\r\na\r\n--x.y\r\nContent-Type: text/html\r\n\r\nb\r\n--x.y--\r\n"
        b"--x\r\nContent-Type: image/png\r\n\r\nc\r\n--x--\r\n"
    )
    assert [part.content_type for part in root.parts] == [
        "multipart/alternative",
        "image/png",
    ]
    assert [part.octets for part in root.leaves()] == [b"a", b"b", b"c"]
    assert root.is_multipart
    assert root.defects == root.parts[0].defects == []
    assert root.parts[0].octets.endswith(b"--x.y--")


def test_an_outer_boundary_ends_what_is_inside() -> None:
    root = parse_parts(
        TOP + b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n"
        b"--y\r\n\r\na\r\n--x\r\n\r\nb\r\n--y\r\n\r\n--x--"
    )
    assert [part.octets for part in root.leaves()] == [b"a", b"b\r\n--y\r\n"]
    assert root.parts[0].defects == ["the last boundary is missing"]
    assert root.defects == []


@pytest.mark.parametrize(
    ("octets", "defect"),
    [
        (b"Content-Type: multipart/mixed\r\n\r\na", "a multipart without a boundary"),
        (TOP + b"a", "no boundary is there"),
        (TOP + b"--x\r\n\r\na", "the last boundary is missing"),
        (b"Content-Type: nonsense\r\n\r\na", "bad content type 'nonsense'"),
        (
            b'Content-Type: multipart/mixed; boundary="' + b"x" * 257 + b'"\r\n\r\na',
            "a multipart without a boundary",
        ),
    ],
)
def test_defects(octets: bytes, defect: str) -> None:
    root = parse_parts(octets)
    assert root.defects == [defect]
    assert [part.octets[-1:] for part in root.leaves()] == [b"a"]


def test_a_boundary_in_use_opens_nothing() -> None:
    root = parse_parts(
        TOP + b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
        b"--x\r\n\r\na\r\n--x--\r\n"
    )
    assert len(root.parts) == 2
    assert root.parts[0].defects == ["a boundary that is in use already"]


def test_parts_of_a_digest_are_messages() -> None:
    root = parse_parts(
        b"Content-Type: multipart/digest; boundary=x\r\n\r\n"
        b"--x\r\n\r\nSubject: a\r\n\r\n--x--"
    )
    assert [part.content_type for part in root.leaves()] == ["message/rfc822"]


def nested(depth: int) -> bytes:
    return b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (one, one)
        for one in range(depth)
    )


@pytest.mark.parametrize(("depth", "is_cut"), [(3, False), (4, True), (10_000, True)])
def test_limit_of_depth(depth: int, is_cut: bool) -> None:
    part = parse_parts(nested(depth), PartLimits(max_depth=3))
    levels = 0
    while part.parts:
        part = part.parts[0]
        levels += 1
    assert levels == 3
    assert ("parts nested over 3 deep" in part.defects) is is_cut


@pytest.mark.parametrize(("count", "is_cut"), [(4, False), (5, True), (9, True)])
def test_limit_of_parts(count: int, is_cut: bool) -> None:
    # The message itself is one.
    root = parse_parts(TOP + b"--x\r\n\r\na\r\n" * count, PartLimits(max_parts=5))
    assert len(root.parts) == 4
    assert ("over 5 parts" in root.defects) is is_cut


def test_limit_of_the_headers_of_parts() -> None:
    limits = PartLimits(header=HeaderLimits(max_fields=1))
    root = parse_parts(TOP + b"--x\r\nA: 1\r\nB: 2\r\n\r\na\r\n--x--", limits)
    assert [len(part.header.fields) for part in root.leaves()] == [1]


@pytest.mark.parametrize(("parts", "depth"), [(0, 1), (1, 0)])
def test_limits_are_positive(parts: int, depth: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PartLimits(max_parts=parts, max_depth=depth)


UU = b"begin 644 x\n" + binascii.b2a_uu(b"hello") + b"`\nend\n"


@pytest.mark.parametrize(
    ("encoding", "octets", "data"),
    [
        (b"7bit", b"a=41", b"a=41"),
        (b"BASE64", b"aGVs\r\nbG8=", b"hello"),
        (b"Quoted-Printable (x)", b"a=41=\r\nb", b"a=41=\r\nb"),
        (b"quoted-printable", b"a=41=\r\nb=ZZ", b"aAb=ZZ"),
        (b"x-uuencode", UU, b"hello"),
        (b"uuencode", UU.replace(b"`", b"``"), b"hello"),
        (b"uuencode", b"begin 644 x\n\xff\xff\nend\n", b""),
        (b"nonsense", b"a", b"a"),
    ],
)
def test_transfer_encodings(encoding: bytes, octets: bytes, data: bytes) -> None:
    part = parse_parts(b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + octets)
    assert part.data == data


def test_text_has_lf_line_ends_and_tells_its_defects() -> None:
    part = parse_parts(
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\n" + b"YQ0KYg1j/w"
    )
    assert part.text == "a\nb\ncÿ"
    assert part.text_defects == [
        "base64 without its padding",
        "octets that are not in charset 'utf-8'",
    ]


def test_what_a_part_is_called() -> None:
    part = parse_parts(
        b'Content-Type: image/png; name="a.png"\r\nContent-ID: <logo@x>\r\n\r\n'
    )
    assert (part.filename, part.content_id) == ("a.png", "logo@x")
    part = parse_parts(
        b"Content-Type: image/png; name=a\r\n"
        b"Content-Disposition: Attachment; filename=b\r\n\r\n"
    )
    assert (part.filename, part.content_id) == ("b", None)
    assert part.disposition[0] == "attachment"
    assert parse_parts(b"\r\n").filename is None
