"""What EHLO told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx.wire.capabilities import Capabilities

LINES = ["PIPELINING", "SIZE 1000", "AUTH PLAIN LOGIN", "X-Foo a B"]


def test_a_mapping() -> None:
    capabilities = Capabilities.parse(LINES)
    assert dict(capabilities) == {
        "PIPELINING": (),
        "SIZE": ("1000",),
        "AUTH": ("PLAIN", "LOGIN"),
        "X-FOO": ("a", "B"),
    }
    assert len(capabilities) == 4
    assert list(capabilities) == ["PIPELINING", "SIZE", "AUTH", "X-FOO"]
    assert capabilities["pipelining"] == ()
    assert capabilities.get("x-foo") == ("a", "B")
    assert capabilities.get("DSN") is None
    with pytest.raises(KeyError):
        capabilities["DSN"]


def test_keywords_are_found_in_any_case() -> None:
    for line in ("starttls", "STARTTLS", "StartTLS"):
        capabilities = Capabilities.parse([line])
        for keyword in ("starttls", "STARTTLS", "StartTLS"):
            assert keyword in capabilities
    not_text: object = 250
    assert not_text not in Capabilities.parse(["250"]).keys()  # noqa: SIM118 - typed


def test_a_value() -> None:
    capabilities = Capabilities.parse(LINES)
    assert capabilities == Capabilities.parse(LINES)
    assert hash(capabilities) == hash(Capabilities.parse(reversed(LINES)))
    assert capabilities == Capabilities.parse(reversed(LINES))
    assert capabilities != Capabilities.parse(LINES[1:])
    assert repr(Capabilities.parse(["size 1"])) == "Capabilities.parse(['SIZE 1'])"
    assert Capabilities() == Capabilities.parse([]) == {}


def test_lines() -> None:
    capabilities = Capabilities.parse(LINES)
    assert capabilities.lines() == (
        *("PIPELINING", "SIZE 1000", "AUTH PLAIN LOGIN", "X-FOO a B"),
    )
    assert Capabilities.parse(capabilities.lines()) == capabilities


def test_lines_with_too_many_spaces_or_nothing() -> None:
    capabilities = Capabilities.parse(["", "  ", " SIZE  10 ", "DSN "])
    assert capabilities.lines() == ("SIZE 10", "DSN")


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("SIZE 35882577", 35_882_577),
        ("size 1", 1),
        ("SIZE", None),
        ("SIZE 0", None),
        ("SIZE x", None),
        ("SIZE -1", None),
        ("SIZE \u00b2", None),
        ("SIZE \u0661", None),
        ("SIZE 1 2", 1),
        ("SIZE " + "9" * 20, int("9" * 20)),
        ("SIZE " + "9" * 21, None),
        ("DSN", None),
    ],
)
def test_size(line: str, size: int | None) -> None:
    assert Capabilities.parse([line]).size == size


@pytest.mark.parametrize(
    ("lines", "mechanisms"),
    [
        ([], ()),
        (["AUTH"], ()),
        (["AUTH PLAIN LOGIN"], ("PLAIN", "LOGIN")),
        (["auth plain Login"], ("PLAIN", "LOGIN")),
        (["AUTH=LOGIN"], ("LOGIN",)),
        (["auth=LOGIN PLAIN"], ("LOGIN", "PLAIN")),
        (["AUTH=PLAIN LOGIN", "AUTH LOGIN CRAM-MD5"], ("PLAIN", "LOGIN", "CRAM-MD5")),
        (["AUTH PLAIN", "AUTH=plain LOGIN"], ("PLAIN", "LOGIN")),
        (["AUTH="], ()),
        (["  AUTH=LOGIN", "\u3000auth=PLAIN"], ("LOGIN", "PLAIN")),
        (["AUTH PLAIN plain"], ("PLAIN",)),
        # A parameter may hold "=", and so may the keyword of another line.
        (["X=AUTH=LOGIN"], ()),
        (["AUTH X=Y"], ("X=Y",)),
    ],
)
def test_mechanisms(lines: list[str], mechanisms: tuple[str, ...]) -> None:
    assert Capabilities.parse(lines).auth_mechanisms == mechanisms


def test_repeated_keywords_add_up() -> None:
    capabilities = Capabilities.parse(["LIMITS A=1", "SIZE 1", "limits A=1 B=2"])
    assert capabilities.lines() == ("LIMITS A=1 B=2", "SIZE 1")


@pytest.mark.parametrize(
    ("lines", "limits"),
    [
        ([], {}),
        (["LIMITS"], {}),
        (["LIMITS RCPTMAX=20 MAILMAX=5"], {"RCPTMAX": 20, "MAILMAX": 5}),
        (
            ["limits rcptmax=1 Rcptdomainmax=999999"],
            {"RCPTMAX": 1, "RCPTDOMAINMAX": 999999},
        ),
        (["LIMITS X-1_y=7 FLAG"], {"X-1_Y": 7}),
        # RFC 9422 section 3.7: a malformed value leaves out its limit ...
        *(
            ([f"LIMITS RCPTMAX={value} MAILMAX=5"], {"MAILMAX": 5})
            for value in ("0", "01", "1000000", "x", "-1", "+1", "1,2")
        ),
        # ... and a malformed list all.
        *(
            ([f"LIMITS MAILMAX=5 {item}"], {})
            for item in (
                "RCPTMAX=",
                "RCPTMAX=1;",
                "=1",
                "RCPT\u00e4=1",
                "A=\u0661",
                "A,B",
            )
        ),
    ],
)
def test_limits(lines: list[str], limits: dict[str, int]) -> None:
    assert Capabilities.parse(lines).limits == limits


@given(st.lists(st.text()))
def test_any_lines(lines: list[str]) -> None:
    capabilities = Capabilities.parse(lines)
    assert len(capabilities) <= len(lines)
    assert capabilities.size is None or capabilities.size > 0
    assert all(limit > 0 for limit in capabilities.limits.values())
    assert all(name == name.upper() for name in capabilities.auth_mechanisms)
