"""The GS2 header: flags, names, and how both are escaped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.errors import SASLError
from smtpx.sasl.gs2 import (
    Gs2Header,
    decode_saslname,
    encode_gs2_header,
    encode_saslname,
    take_gs2_header,
)


@pytest.mark.parametrize(
    ("message", "header", "rest"),
    [
        (b"n,,n=u", Gs2Header(b"n,,", "", False, ""), b"n=u"),
        (b"y,,", Gs2Header(b"y,,", "", True, ""), b""),
        (
            b"p=tls-unique,,x",
            Gs2Header(b"p=tls-unique,,", "tls-unique", False, ""),
            b"x",
        ),
        (b"p=A.9-b,a=u,", Gs2Header(b"p=A.9-b,a=u,", "A.9-b", False, "u"), b""),
        (b"n,a=a=2Cb=3D,r", Gs2Header(b"n,a=a=2Cb=3D,", "", False, "a,b="), b"r"),
        (b"n,a=gr\xc3\xa5,", Gs2Header(b"n,a=gr\xc3\xa5,", "", False, "gr\u00e5"), b""),
    ],
)
def test_headers(message: bytes, header: Gs2Header, rest: bytes) -> None:
    assert take_gs2_header(message) == (header, rest)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,",
        b"n,a=,",
        b"n,u,",
        b"N,,",
        b"x,,",
        b"p,,",
        b"p=,,",
        b"p=tls unique,,",
        b"F,n,,",
        b"ny,,",
        b"n=x,,",
        b"n,a=u=2c,",
        b"n,a=u=,",
        b"n,a=\xff,",
        b"n,a=a\nb,",
        b"n,a=a\0b,",
        b" n,,",
    ],
)
def test_no_headers(message: bytes) -> None:
    assert take_gs2_header(message) is None


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"a", "a"),
        (b"=3D2C", "=2C"),
        (b"=2C=3D", ",="),
        (b"", None),
        (b"=2c", None),
        (b"=", None),
        (b"=3", None),
        (b"a,b", None),
        (b"\xc3", None),
        (b"a\x1bb", None),
    ],
)
def test_names(octets: bytes, name: str | None) -> None:
    assert decode_saslname(octets) == name


def test_names_that_cannot_be_sent() -> None:
    for name in ("", "a\0b", "\ud800"):
        with pytest.raises(SASLError, match="the user name"):
            encode_saslname(name, "user name")
    with pytest.raises(SASLError, match="authorize_as name holds"):
        encode_gs2_header(b"n", "\ud800")


names = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1)


@given(name=names, flag=st.sampled_from([b"n", b"y", b"p=tls-unique"]))
def test_what_is_written_is_read(name: str, flag: bytes) -> None:
    header = encode_gs2_header(flag, name)
    found = take_gs2_header(header + b"n=x")
    assert found is not None
    assert (found[0].authorize_as, found[0].octets, found[1]) == (name, header, b"n=x")


@given(st.binary())
def test_any_octets(octets: bytes) -> None:
    decode_saslname(octets)
    found = take_gs2_header(octets)
    assert found is None or found[0].octets + found[1] == octets
