"""Patterns of recipients."""

from __future__ import annotations

import pytest

from smtpx.app.routes import Pattern
from smtpx.wire.address import Mailbox


@pytest.mark.parametrize(
    ("pattern", "address", "found"),
    [
        ("bob@example.com", "bob@example.com", {}),
        ("Bob@Example.com", "bOB@exAMPLE.com", {}),
        ("bob@example.com", '"bob"@example.com', {}),
        ("bob@example.com", "bobby@example.com", None),
        ("bob@example.com", "bob@example.org", None),
        ("bob@example.com", "bob@x.example.com", None),
        ("bob", "bob@anywhere.example", {}),
        ("bob", "rob@anywhere.example", None),
        ("postmaster", "postmaster", {}),
        ("@example.com", "any.body@example.com", {}),
        ("@example.com", "a@example.org", None),
        ("*", "a@b.c", {}),
        ("*", "postmaster", {}),
        ("*@*", "a@b.c", {}),
        ("s+{t}@x.y", "s+42@x.y", {"t": "42"}),
        ("s+{t}@x.y", "S+Ab@X.y", {"t": "Ab"}),
        ("s+{t}@x.y", "s+@x.y", None),
        ("s+{t}@x.y", "s@x.y", None),
        ("{a}-{b}@x.y", "1-2-3@x.y", {"a": "1", "b": "2-3"}),
        ("{a}-{b}@x.y", "-1-2@x.y", {"a": "-1", "b": "2"}),
        ("{a}-x@x.y", "1-x-x@x.y", {"a": "1-x"}),
        ("{a}.log@x.y", '".log"@x.y', None),
        ("*-{b}@x.y", "1-2@x.y", {"b": "2"}),
        ("{u}@{d}.x.y", "a@b.x.y", {"u": "a", "d": "b"}),
        ("{u}@{d}.x.y", "a@b.c.x.y", None),
        ("a@{d}.{e}", "a@b.c.d", None),
        ("{u}@{d}", "a@b.c.d", {"u": "a", "d": "b.c.d"}),
        ("{u}@{d}", "postmaster", None),
        ("a@{d}.{e}", "a@b.c", {"d": "b", "e": "c"}),
        ("a@grå.example", "a@xn--gr-zia.example", {}),
        ("ab@x.y", "ab@x.yz", None),
        ("İ{a}@x.y", "İ1@x.y", None),
    ],
)
def test_patterns(pattern: str, address: str, found: dict[str, str] | None) -> None:
    assert Pattern(pattern).match(Mailbox.parse(address)) == found


@pytest.mark.parametrize(
    "pattern", ["{a}{b}@x", "{a}*@x", "{a}@{a}", "{a", "a}@x", "{}@x", "{1}@x", "x@{"]
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="placeholder"):
        Pattern(pattern)


def test_time_is_linear_whatever_the_pattern() -> None:
    pattern = Pattern("-".join(f"{{a{one}}}" for one in range(50)) + "x@y.z")
    assert pattern.match(Mailbox("-" * 100_000, "y.z")) is None


def test_repr() -> None:
    assert repr(Pattern("a@b.c")) == "Pattern('a@b.c')"
