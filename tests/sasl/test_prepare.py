"""SASLprep and the trace profile: what becomes equal, and what is refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp.utils import saslprep  # type: ignore[import-untyped]

from smtpx.errors import SASLError
from smtpx.sasl.prepare import MAX_CHARACTERS, prepare_trace, sasl_prepare


def prepare(text: str) -> str:
    return sasl_prepare(text, "password", allow_unassigned=False)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        # The examples of SASLprep itself.
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # Those that RFC 5802 section 3 names.
        ("\u00bd", "1\u20442"),
        ("\u00b4", " \u0301"),
        ("a b", "a b"),
        ("a\u00a0b\u3000c", "a b c"),
        ("e\u0301", "\u00e9"),
        ("\u0627\u0031\u0628", "\u06271\u0628"),
        ("\u05d0", "\u05d0"),
        ("a\u200bb", "ab"),
    ],
)
def test_what_is_mapped(text: str, prepared: str) -> None:
    assert prepare(text) == prepared
    assert sasl_prepare(text, "user name", allow_unassigned=True) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "\u0007",
        "a\0b",
        "a\nb",
        "a\x7fb",
        "\u0085",
        "\u2028",
        "\ue000",
        "\ufdd0",
        "\ud800",
        "\ufff9",
        "\ufffc",
        "\u2ff0",
        "\u200e",
        "\u202a",
        "\U000e0001",
        # From right to left, and not all the way.
        "\u0627\u0031",
        "1\u0627",
        "\u0627a\u0628",
        "",
        "\u00ad",
        "a" * (MAX_CHARACTERS + 1),
        "\ufdfa" * 57,
    ],
)
def test_what_is_refused(text: str) -> None:
    for allow in (True, False):
        with pytest.raises(SASLError, match=r"^the password") as caught:
            sasl_prepare(text, "password", allow_unassigned=allow)
        assert not text or text not in str(caught.value)


def test_the_longest() -> None:
    assert prepare("a" * MAX_CHARACTERS) == "a" * MAX_CHARACTERS
    assert len(prepare("\ufdfa" * 56)) == 56 * 18
    with pytest.raises(SASLError, match="over 1024"):
        prepare("\u00ad" * (MAX_CHARACTERS + 1))


def test_what_is_kept_holds_nothing_that_is_newer() -> None:
    assert sasl_prepare("\u0221", "name", allow_unassigned=True) == "\u0221"
    with pytest.raises(SASLError, match="newer than SASLprep"):
        prepare("\u0221")
    with pytest.raises(SASLError, match="newer than SASLprep"):
        prepare("\U0001f600")


@given(st.text(min_size=1, max_size=8))
def test_as_another_library_does_it(text: str) -> None:
    try:
        expected = saslprep(text)
    except Exception:
        expected = None
    if expected is not None and unicodedata.normalize("NFKC", text) != (
        unicodedata.ucd_3_2_0.normalize("NFKC", text)
    ):
        return  # it normalises by the newest Unicode
    try:
        found = prepare(text)
    except SASLError:
        found = None
    assert found == (expected or None)


@given(st.text(min_size=1, max_size=8))
def test_twice_is_as_once(text: str) -> None:
    try:
        once = prepare(text)
    except SASLError:
        return
    assert prepare(once) == once


@pytest.mark.parametrize(
    "text", ["sirhc", "a@example.com", "\u00ad", "\u00a0", "x" * 255, "\U0001f600"]
)
def test_traces(text: str) -> None:
    assert prepare_trace(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "x" * 256, "a\nb", "\u0085", "\ue000", "\ufdd0", "\ud800"),
        *("\ufff9", "\u200e", "\U000e0001", "\u0627a"),
    ],
)
def test_bad_traces(text: str) -> None:
    with pytest.raises(SASLError, match=r"^the trace text"):
        prepare_trace(text)
