"""What tables of rules and tests have in common: whether what they name is there."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
MUTATIONS: Final = ROOT / "tools" / "mutations.toml"
SOURCE: Final = ROOT / "src" / "smtpx"


def read_tests(path: Path = MUTATIONS) -> dict[str, tuple[str, ...]]:
    """Read the tests of each mutation, by its name.

    Raises:
        ValueError: two have one name.
    """
    tests: dict[str, tuple[str, ...]] = {}
    for row in tomllib.loads(path.read_text("utf-8"))["mutation"]:
        if row["name"] in tests:
            raise ValueError(f"two mutations are called {row['name']!r}")
        tests[row["name"]] = tuple(row["tests"])
    return tests


def is_there(folder: Path, place: str) -> bool:
    """Tell whether a file exists, and what may be named behind it, as ``Class.name``.

    >>> is_there(SOURCE, "wire/framing.py DotDecoder.decode")
    True
    >>> is_there(SOURCE, "wire/framing.py DotDecoder.encode")
    False
    """
    path, _, names = place.partition(" ")
    file = folder / path
    if not file.is_file():
        return False
    node: ast.AST | None = ast.parse(file.read_text("utf-8")) if names else None
    for name in names.split(".") if names else ():
        node = _find(node, name)
        if node is None:
            return False
    return True


def _find(parent: ast.AST | None, name: str) -> ast.AST | None:
    """Return what is defined by a name, right below a module or class."""
    for node in getattr(parent, "body", ()):
        if getattr(node, "name", None) == name:
            return node  # type: ignore[no-any-return]
        targets = [getattr(node, "target", None), *getattr(node, "targets", ())]
        if any(isinstance(one, ast.Name) and one.id == name for one in targets):
            return node  # type: ignore[no-any-return]
    return None


def missing_tests(what: str, tests: Sequence[str]) -> Iterator[str]:
    """Say which tests there are not.

    Args:
        what: names them.
        tests: paths, with ``::`` and a name behind some, and parameters behind that.
    """
    for test in tests:
        if not is_there(ROOT, test.partition("[")[0].replace("::", " ")):
            yield f"{what}: there is no test {test}"


def link_to(test: str) -> str:
    """Write a link of a page in docs/explanation to a test."""
    path, _, name = test.partition("::")
    text = name or Path(path).stem
    return f"[{text.removeprefix('test_').replace('_', ' ')}](../../{path})"
