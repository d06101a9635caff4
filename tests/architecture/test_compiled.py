"""What is compiled for who wants it: the list of modules, and what a compiler traps.

``make test-compiled`` runs the tests against that build; here is what can be told from
the sources alone.
"""

from __future__ import annotations

import ast
import tomllib
from typing import TYPE_CHECKING

import pytest

from smtpx.core import buffer
from smtpx.core.build import is_compiled
from tests.architecture.layout import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCES = ROOT / "src"


def patterns() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    build = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    found: list[str] = build["hooks"]["custom"]["modules"]
    return found


COMPILED = sorted({path for each in patterns() for path in SOURCES.glob(each)})


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def caught(function: ast.FunctionDef) -> list[str]:
    """List the names that a function gives to what it catches."""
    handlers = (n for n in ast.walk(function) if isinstance(n, ast.ExceptHandler))
    return [handler.name for handler in handlers if handler.name is not None]


@pytest.mark.parametrize("pattern", patterns())
def test_every_pattern_finds_something(pattern: str) -> None:
    assert list(SOURCES.glob(pattern))


def test_the_usual_wheel_is_pure_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    assert hook["enable-by-default"] is False
    assert not [path for path in SOURCES.rglob("*") if path.suffix in {".so", ".pyd"}]


def test_what_is_derived_from_a_compiled_class_is_compiled() -> None:
    """A native class has no subclass that is none."""
    native = {
        node.name
        for path in COMPILED
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef)
    }
    strange = [
        f"{path.relative_to(SOURCES)}: {node.name}"
        for path in sorted(SOURCES.rglob("*.py"))
        if path not in COMPILED
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id in native for base in node.bases)
    ]
    assert "ServerMachine" in native
    assert strange == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_a_name_is_given_to_one_kind_of_error(path: Path) -> None:
    """The compiler takes the type of the first for that of all in a function."""
    twice = [
        function.name
        for function in functions(parse(path))
        if len(set(caught(function))) < len(caught(function))
    ]
    assert twice == []


@pytest.mark.parametrize(
    ("file", "answer"),
    [
        ("/lib/smtpx/core/buffer.py", False),
        ("/lib/smtpx/core/buffer.cpython-313-x86_64-linux-gnu.so", True),
        ("C:\\lib\\smtpx\\core\\buffer.cp313-win_amd64.pyd", True),
    ],
)
def test_which_build_this_is(
    monkeypatch: pytest.MonkeyPatch, file: str, answer: bool
) -> None:
    monkeypatch.setattr(buffer, "__file__", file)
    assert is_compiled() is answer
