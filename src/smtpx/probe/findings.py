"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Finding",
    "Verdict",
    "left_out",
    "not_offered",
    "noted",
    "ok",
    "unclear",
    "unsafe",
    "weak",
]


class Verdict(StrEnum):
    """What a finding means."""

    OK = "ok"
    NOTED = "noted"
    """A fact, neither good nor bad."""
    NOT_OFFERED = "not offered"
    LEFT_OUT = "left out"
    """It needs something that was not given, or the server refused what it needs."""
    UNCLEAR = "unclear"
    """The server closed the connection, was silent, or broke the protocol."""
    WEAK = "weak"
    """Against a standard, or of use to an attacker who has something else as well."""
    UNSAFE = "unsafe"
    """An attacker can use it."""

    @property
    def rank(self) -> int:
        """How much it matters: the highest of several is their sum."""
        return _RANKS.index(self)


_RANKS = (
    Verdict.LEFT_OUT,
    Verdict.NOT_OFFERED,
    Verdict.NOTED,
    Verdict.OK,
    Verdict.UNCLEAR,
    Verdict.WEAK,
    Verdict.UNSAFE,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, or one of its cases.

    Attributes:
        verdict: what it means.
        text: what was seen, safe to print.
        advice: what to do about it; empty if nothing.
        case: which one, if the check has several.
    """

    verdict: Verdict
    text: str
    advice: str = ""
    case: str = ""


def ok(text: str, *, case: str = "") -> Finding:
    """Return that all is well.

    Args:
        text: what was seen.
        case: which one.
    """
    return Finding(Verdict.OK, text, case=case)


def noted(text: str, *, case: str = "") -> Finding:
    """Return a fact.

    Args:
        text: what was seen.
        case: which one.
    """
    return Finding(Verdict.NOTED, text, case=case)


def not_offered(text: str) -> Finding:
    """Return that the server has no such extension.

    Args:
        text: which one.
    """
    return Finding(Verdict.NOT_OFFERED, text)


def left_out(text: str) -> Finding:
    """Return why a check was not made.

    Args:
        text: the reason.
    """
    return Finding(Verdict.LEFT_OUT, text)


def unclear(text: str, *, case: str = "") -> Finding:
    """Return that what the server did answers nothing.

    Args:
        text: what it did.
        case: which one.
    """
    return Finding(Verdict.UNCLEAR, text, case=case)


def weak(text: str, advice: str, *, case: str = "") -> Finding:
    """Return what is against a standard.

    Args:
        text: what was seen.
        advice: what to do about it.
        case: which one.
    """
    return Finding(Verdict.WEAK, text, advice, case)


def unsafe(text: str, advice: str, *, case: str = "") -> Finding:
    """Return what an attacker can use.

    Args:
        text: what was seen.
        advice: what to do about it.
        case: which one.
    """
    return Finding(Verdict.UNSAFE, text, advice, case)
