"""The list of packages and files in ARCHITECTURE.md, and the imports of the code."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "smtpx"

_ENTRY = re.compile(r"^  (?P<name>\w+)(?P<kind>\.py|/) +L(?P<level>\d)  ", re.ASCII)
_FILE = re.compile(r"^    (?P<name>\w+)\.py ", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the list says: the layer of each package, the order of its files."""

    levels: Mapping[str, int]
    order: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Import:
    """One import of one module."""

    module: str
    is_for_types_only: bool


def read_layout(text: str) -> Layout:
    block = text.partition("```text\nsrc/smtpx/\n")[2].partition("```")[0]
    levels: dict[str, int] = {}
    order: dict[str, list[str]] = {}
    for line in block.splitlines():
        if entry := _ENTRY.match(line):
            package = entry["name"]
            levels[package] = int(entry["level"])
            order[package] = []
        elif file := _FILE.match(line):
            order[package].append(file["name"])
        else:
            raise ValueError(f"cannot read {line!r} of the list in ARCHITECTURE.md")
    return Layout(levels, order)


def module_name(path: Path) -> str:
    """Name a file as Python does: smtpx.wire for wire/__init__.py."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def find_imports(tree: ast.Module, package: str) -> Iterator[Import]:
    """Find all imports, also those inside functions.

    Args:
        tree: the parsed file.
        package: the package that relative imports start from.
    """
    types_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{_base(node, package)}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield Import(name, id(node) in types_only)


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = parents[: len(parents) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports_of(path: Path) -> list[Import]:
    name = module_name(path)
    is_package = path.name == "__init__.py"
    package = name if is_package else name.rpartition(".")[0]
    return list(find_imports(ast.parse(path.read_text(encoding="utf-8")), package))


def layer_mistakes(module: str, imports: Sequence[Import], layout: Layout) -> list[str]:
    """Say which imports of a module break the rules of the layers.

    Args:
        module: as in ``smtpx.wire.octets``.
        imports: its imports of anything; those of other libraries are passed over.
        layout: the list.
    """
    mistakes = []
    for one in imports:
        parts = one.module.split(".")
        if parts[0] != "smtpx" or one.module == "smtpx.__version__":
            continue
        if one.is_for_types_only and module == "smtpx.errors":
            continue
        reason = _why_not(module.split(".")[1:], parts[1:], layout)
        if reason:
            mistakes.append(f"{module} imports {one.module}: {reason}")
    return mistakes


def _why_not(importer: Sequence[str], imported: Sequence[str], layout: Layout) -> str:
    package = imported[0] if imported else ""
    if package not in layout.levels:
        return "public names are for users; import the file that defines it"
    if package != importer[0]:
        is_lower = layout.levels[package] < layout.levels[importer[0]]
        return "" if is_lower else "not a lower layer"
    if len(importer) == 1:  # the package's own __init__.py
        return ""
    files = list(layout.order[package])
    if len(imported) < 2 or imported[1] not in files:
        return "import the file that defines it"
    is_above = files.index(imported[1]) < files.index(importer[1])
    return "" if is_above else "it is not listed above"
