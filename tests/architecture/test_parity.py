"""The blocking and the asyncio fronts offer the same names with the same signatures."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

import smtpx

if TYPE_CHECKING:
    from collections.abc import Callable

# The context manager and iterator protocols have other names when awaited.
SPECIAL = {"__enter__": "__aenter__", "__exit__": "__aexit__", "__iter__": "__aiter__"}

PAIRS = [
    ("Client", "AsyncClient"),
    ("LMTPClient", "AsyncLMTPClient"),
    ("BlockingClientPool", "ClientPool"),
]


def public_members(front: type) -> dict[str, Any]:
    """Map a front's public names to their definitions, inherited ones too."""
    names = {name for name in dir(front) if not name.startswith("_")}
    names |= {name for pair in SPECIAL.items() for name in pair if hasattr(front, name)}
    return {name: inspect.getattr_static(front, name) for name in names}


def blocking_name(name: str) -> str:
    return {awaited: name for name, awaited in SPECIAL.items()}.get(name, name)


def parameters(definition: Callable[..., object]) -> list[tuple[str, Any, Any, str]]:
    """Describe a method's parameters, with types as the blocking front writes them."""
    return [
        (one.name, one.kind, one.default, re.sub(r"\bAsync", "", str(one.annotation)))
        for one in inspect.signature(definition).parameters.values()
    ]


def differences(blocking: type, awaited: type) -> list[str]:
    ours = public_members(blocking)
    theirs = {blocking_name(name): one for name, one in public_members(awaited).items()}
    found = [f"only one has {name}" for name in sorted(ours.keys() ^ theirs.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        ours_is, theirs_is = ours[name], theirs[name]
        if type(ours_is) is not type(theirs_is):
            found.append(f"{name} is not of one kind")
        if inspect.isfunction(ours_is) and inspect.isfunction(theirs_is):
            if parameters(ours_is) != parameters(theirs_is):
                found.append(f"{name} takes other parameters")
            if inspect.iscoroutinefunction(ours_is):
                found.append(f"{name} of the blocking front is a coroutine")
    return found


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS)
def test_classes_agree(blocking: str, awaited: str) -> None:
    assert differences(getattr(smtpx, blocking), getattr(smtpx, awaited)) == []


@pytest.mark.parametrize(("blocking", "awaited"), PAIRS[:2])
def test_the_awaited_methods_are_coroutines(blocking: str, awaited: str) -> None:
    """What blocks in one front is awaited in the other: each command method."""
    members = public_members(getattr(smtpx, awaited))
    commands = "connect close quit mail rcpt data reset noop verify send execute"
    assert [
        name
        for name in commands.split()
        if not inspect.iscoroutinefunction(members.get(name))
    ] == []


def test_one_call_functions_agree() -> None:
    assert parameters(smtpx.send) == parameters(smtpx.asend)
    assert inspect.iscoroutinefunction(smtpx.asend)
    assert not inspect.iscoroutinefunction(smtpx.send)


class Blocking:
    def send(self, message: bytes, *, times: int = 1) -> None: ...


class Awaited:
    async def send(self, message: bytes, *, times: int = 1) -> None: ...


class OtherDefault:
    async def send(self, message: bytes, *, times: int = 2) -> None: ...


class OtherName:
    async def transmit(self, message: bytes, *, times: int = 1) -> None: ...


class Property:
    @property
    def send(self) -> None: ...


@pytest.mark.parametrize("other", [OtherDefault, OtherName, Property])
def test_a_difference_is_found(other: type) -> None:
    assert differences(Blocking, Awaited) == []
    assert differences(Blocking, other) != []
