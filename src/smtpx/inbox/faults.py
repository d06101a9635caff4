r"""Faults as the page, the API and the command line write them.

>>> fault = parse_fault("rcpt pattern=bob@* probability=0.5 451 4.3.0 try later")
>>> describe_fault(fault)["reply"], describe_fault(fault)["pattern"]
('451 4.3.0 try later', 'bob@*')
>>> parse_fault("data delay=2 drop")
<Delay at data for *, 0 times>
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypedDict
from weakref import WeakKeyDictionary

from smtpx.errors import Refuse
from smtpx.testing.faults import (
    Delay,
    Drop,
    Fault,
    Faults,
    Hold,
    Refusal,
    parse_stage,
)
from smtpx.wire.octets import has_line_control

if TYPE_CHECKING:
    from smtpx.inbox.views import JSONObject

__all__ = [
    "MAX_FAULTS",
    "FaultList",
    "TooMany",
    "describe_fault",
    "fault_from",
    "parse_fault",
]

MAX_FAULTS: Final = 100
"""Each command of a client is compared with all of them."""

_MAX_PATTERN_CHARACTERS: Final = 320  # RFC 5321 section 4.5.3.1: 64, "@" and 255
_MAX_TEXT_CHARACTERS: Final = 400
_MAX_TIMES: Final = 10**9
_REPLY: Final = re.compile(r"([45]\d\d)(?:[ -]([45]\.\d{1,3}\.\d{1,3}))?(?: (.*))?")


class TooMany(ValueError):
    """There are as many faults as there may be."""


class _Given(TypedDict):
    """What every kind of fault takes."""

    matching: str
    times: int | None
    probability: float


def fault_from(values: dict[str, Any]) -> Fault:
    """Make a fault from JSON.

    Args:
        values: ``stage``, and any of ``pattern``, ``reply``, ``drop``, ``delay`` in
            seconds, ``probability`` and ``times``.

    Raises:
        ValueError: it is none; the text says why.

    >>> fault_from({"stage": "rcpt", "reply": "550 5.1.1 no such user"})
    <Refusal at rcpt for *, 0 times>
    """
    strange = values.keys() - _CHECKS.keys()
    if strange:
        known = ", ".join(_CHECKS)
        raise ValueError(f"a fault has no {min(strange)!r}: it has {known}")
    for name, check in _CHECKS.items():
        value = values.get(name)
        if value is not None and not check(value):
            raise ValueError(f"{name} cannot be {value!r:.100}")
    stage = parse_stage(values.get("stage") or "")
    delay = values.get("delay") or 0
    given: _Given = {
        "matching": values.get("pattern") or "*",
        "times": values.get("times"),
        "probability": 1.0 if (chance := values.get("probability")) is None else chance,
    }
    is_drop, reply = values.get("drop") or False, values.get("reply")
    if is_drop and reply is not None:
        raise ValueError("drop loses the connection without a word: leave out reply")
    fault: Fault | None = None
    if reply is not None:
        fault = Refusal(stage, _parse_reply(reply), **given)
    elif is_drop:
        fault = Drop(stage, **given)
    if delay:
        return Delay(stage, delay, fault, **given)
    if fault is None:
        raise ValueError("a fault needs a reply, drop, or a delay")
    return fault


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_PATTERN_CHARACTERS


def _is_times(value: object) -> bool:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return is_integer and 0 < value <= _MAX_TIMES  # type: ignore[operator]


_CHECKS: Final = {
    "stage": lambda value: isinstance(value, str),
    "pattern": _is_pattern,
    "reply": lambda value: isinstance(value, str),
    "drop": lambda value: isinstance(value, bool),
    "delay": _is_number,
    "probability": _is_number,
    "times": _is_times,
}


def _parse_reply(text: str) -> Refuse:
    match = _REPLY.fullmatch(text)
    if match is None or len(text) > _MAX_TEXT_CHARACTERS or has_line_control(text):
        raise ValueError(f"{text!r:.100} is no refusal: write '451 4.3.0 try later'")
    return Refuse(int(match[1]), match[2], match[3] or "refused by a fault")


def describe_fault(fault: Fault) -> JSONObject:
    """Write a fault as JSON.

    Args:
        fault: of any kind.
    """
    delay, then = 0.0, fault
    if isinstance(fault, Delay):
        delay, then = fault.seconds, fault.then or fault
    return {
        "stage": fault.stage,
        "pattern": None if fault.matching == "*" else fault.matching,
        "reply": str(then.reply) if isinstance(then, Refusal) else None,
        "drop": isinstance(then, Drop),
        "delay": delay,
        "hold": isinstance(fault, Hold),
        "probability": fault.probability,
        "times": fault.times,
        "hits": fault.hits,
    }


def parse_fault(text: str) -> Fault:
    """Parse a fault as the command line has it.

    Args:
        text: a stage; then, if wanted, ``pattern=``, ``delay=`` in seconds,
            ``probability=`` and ``times=``; at last ``drop``, or a reply.

    Raises:
        ValueError: it is none; the text says why.

    >>> parse_fault("mail times=2 421 4.3.2 later").times
    2
    """
    stage, *words = text.split()[:_MAX_TEXT_CHARACTERS] or [""]
    values: dict[str, Any] = {"stage": stage}
    while words and "=" in words[0] and not words[0][0].isdigit():
        name, _, value = words.pop(0).partition("=")
        convert = _CONVERSIONS.get(name)
        if convert is None:
            raise ValueError(f"{name}= is none of {'=, '.join(_CONVERSIONS)}=")
        try:
            values[name] = convert(value)
        except ValueError:
            raise ValueError(f"{name}={value} is no number") from None
    if words == ["drop"]:
        values["drop"] = True
    elif words:
        values["reply"] = " ".join(words)
    return fault_from(values)


_CONVERSIONS: Final = {
    "pattern": str,
    "delay": float,
    "probability": float,
    "times": int,
}


class FaultList:
    """The faults of an inbox, with names under which the API knows them.

    Args:
        faults: of the servers.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._numbers = itertools.count(1)
        # Who runs an inbox in code adds to the faults themselves.
        self._ids: WeakKeyDictionary[Fault, str] = WeakKeyDictionary()

    def rows(self) -> list[JSONObject]:
        """List all faults, in the order in which they are asked."""
        return [self._row(fault) for fault in self._faults]

    def add(self, fault: Fault) -> JSONObject:
        """Have something go wrong from now on.

        Args:
            fault: what.

        Raises:
            TooMany: that go wrong already.
        """
        if len(list(self._faults)) >= MAX_FAULTS:
            raise TooMany(f"there are {MAX_FAULTS} faults already: remove some")
        self._faults.add(fault)
        return self._row(fault)

    def remove(self, id_: str | None) -> int:
        """Have a fault not happen any more; return how many these are.

        Args:
            id_: of the fault; None: all.
        """
        found = [one for one in self._faults if id_ in {None, self._id(one)}]
        for fault in found:
            self._faults.remove(fault)
        return len(found)

    def _row(self, fault: Fault) -> JSONObject:
        return {"id": self._id(fault)} | describe_fault(fault)

    def _id(self, fault: Fault) -> str:
        id_ = self._ids.get(fault)
        if id_ is None:
            id_ = self._ids[fault] = str(next(self._numbers))
        return id_
