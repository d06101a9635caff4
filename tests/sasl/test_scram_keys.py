"""What is kept of a password: the figures of the RFCs, and how it is written down."""

from __future__ import annotations

import base64

import pytest
from scramp import ScramMechanism  # type: ignore[import-untyped]

from smtpx.errors import SASLError
from smtpx.sasl.scram_keys import (
    ScramCredentials,
    decode_base64,
    encode_base64,
    make_scram_credentials,
    xor,
)

SALT = b"0123456789abcdef"
# PostgreSQL writes this for the password "pencil" and the salt and count of RFC 7677.
LINE = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


@pytest.mark.parametrize(
    ("name", "hash_name"), [("SCRAM-SHA-1", "sha1"), ("SCRAM-SHA-256", "sha256")]
)
@pytest.mark.parametrize("password", ["pencil", "p\u00e4ss\u00adw\u00f6rd\u2168"])
def test_keys_are_those_of_another_library(
    name: str, hash_name: str, password: str
) -> None:
    kept = make_scram_credentials(
        password, salt=SALT, iterations=5000, hash_name=hash_name
    )
    info = ScramMechanism(name).make_auth_info(password, 5000, SALT)
    assert (kept.salt, kept.stored_key, kept.server_key, kept.iterations) == info
    assert kept.hash_name == hash_name
    assert ScramCredentials.parse(kept.encode()) == kept
    assert kept.encode().startswith(f"{name}$5000:")


def test_line_of_another_program() -> None:
    kept = make_scram_credentials(
        "pencil", salt=base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    )
    assert kept.encode() == LINE
    assert ScramCredentials.parse(LINE) == kept


@pytest.mark.parametrize(
    "line",
    [
        "",
        LINE + "\n",
        LINE.replace("256", "512"),
        LINE.replace("4096", "0"),
        LINE.replace("4096", "04096"),
        LINE.replace("4096", "-1"),
        LINE.replace("4096", "9" * 11),
        LINE.replace("gQ==", "gQ="),
        LINE.replace("gQ==", "gR=="),
        LINE.replace("4qY=", "4qZ="),
        LINE.replace("2dU=", "2dV="),
        LINE.replace("WG5d", ""),
        LINE.replace("SCRAM-SHA-256", "SCRAM-SHA-1"),
    ],
)
def test_bad_lines(line: str) -> None:
    with pytest.raises(ValueError, match=r"SCRAM|keys of") as caught:
        ScramCredentials.parse(line)
    assert "WG5d8oPm" not in str(caught.value)


@pytest.mark.parametrize(
    ("hash_name", "salt", "iterations", "stored", "server"),
    [
        ("sha512", b"s", 1, 64, 64),
        ("sha256", b"", 1, 32, 32),
        ("sha256", b"s", 0, 32, 32),
        ("sha256", b"s", 1, 31, 32),
        ("sha256", b"s", 1, 32, 20),
        ("sha1", b"s", 1, 32, 32),
    ],
)
def test_impossible_credentials(
    hash_name: str, salt: bytes, iterations: int, stored: int, server: int
) -> None:
    with pytest.raises(ValueError, match=r"sha|salt"):
        ScramCredentials(
            hash_name=hash_name,
            salt=salt,
            iterations=iterations,
            stored_key=bytes(stored),
            server_key=bytes(server),
        )


def test_passwords_and_figures_that_are_refused() -> None:
    with pytest.raises(SASLError, match="newer"):
        make_scram_credentials("\U0001f600", salt=SALT)
    with pytest.raises(ValueError, match="used with"):
        make_scram_credentials("pencil", salt=SALT, hash_name="md5")
    with pytest.raises(ValueError, match="salt"):
        make_scram_credentials("pencil", salt=b"")
    with pytest.raises(ValueError, match="iteration"):
        make_scram_credentials("pencil", salt=SALT, iterations=0)
    one = make_scram_credentials("pencil", salt=b"x", iterations=1)
    assert one.iterations == 1


@pytest.mark.parametrize(
    "octets", [b"YQ", b"YQ=", b"YR==", b"Y Q==", b"YQ==\n", b"YQ==YQ==", b"Y-_=", b"="]
)
def test_base64_has_one_form(octets: bytes) -> None:
    assert decode_base64(octets) is None


def test_base64() -> None:
    for size in range(70):
        assert decode_base64(encode_base64(b"x" * size)) == b"x" * size


def test_xor() -> None:
    assert xor(b"\x0f\xf0", b"\xff\xff") == b"\xf0\x0f"
    with pytest.raises(ValueError, match="zip"):
        xor(b"a", b"ab")


def test_no_key_in_a_repr() -> None:
    kept = ScramCredentials.parse(LINE)
    assert repr(kept.stored_key) not in repr(kept)
    assert repr(kept.server_key) not in repr(kept)
