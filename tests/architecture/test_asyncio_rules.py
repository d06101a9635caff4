"""What asyncio lets one do wrong, and nobody does here."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import smtpx

if TYPE_CHECKING:
    from collections.abc import Iterator

# Of the library that is imported, wherever it lies.
SOURCE = Path(smtpx.__file__).parent

# A task that nobody keeps may be collected in the middle of its work.
MAKERS = {"create_task", "ensure_future"}


def calls_by_name(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                yield function.attr, node
            elif isinstance(function, ast.Name):
                yield function.id, node


def mistakes(source: str) -> list[str]:
    tree = ast.parse(source)
    dropped = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    }
    found = []
    for name, call in calls_by_name(tree):
        if name in MAKERS and id(call) in dropped:
            found.append(f"line {call.lineno}: the task is not kept")
        if name == "get_event_loop":
            found.append(f"line {call.lineno}: get_event_loop may make a loop")
    return found


def test_tasks_are_kept_and_no_loop_is_made_by_asking_for_one() -> None:
    found = {
        str(path.relative_to(SOURCE)): wrong
        for path in SOURCE.rglob("*.py")
        if (wrong := mistakes(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("loop.create_task(f())", 1),
        ("asyncio.ensure_future(f())", 1),
        ("task = loop.create_task(f())", 0),
        ("asyncio.get_event_loop()", 1),
        ("get_event_loop()", 1),
        ("asyncio.get_running_loop()", 0),
    ],
)
def test_mistakes_are_found(source: str, count: int) -> None:
    assert len(mistakes(source)) == count
