"""Packages import lower layers, files import files above them, the core is sans-IO."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.architecture.layout import (
    ROOT,
    SOURCE,
    Import,
    Layout,
    find_imports,
    imports_of,
    layer_mistakes,
    module_name,
    read_layout,
    source_files,
)

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = read_layout((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))
FIRST_IO_LAYER = 3

# What the standard library has that neither waits, nor asks the system for anything.
PURE_NAMES = """
    __future__ abc ast base64 binascii bisect codecs collections contextlib copy
    dataclasses datetime email encodings enum functools hashlib hmac html io ipaddress
    itertools json math operator quopri re string stringprep struct types typing
    unicodedata warnings zlib
"""
PURE = frozenset(PURE_NAMES.split())
PURE_EXCEPTIONS = {
    "smtpx.errors": {"smtplib"},  # its exceptions subclass smtplib's
    "smtpx.wire.domains": {"idna"},  # computes, and has no I/O
    "smtpx.message.words": {"urllib"},  # urllib.parse alone
}
# Of a pure module or a builtin, and yet a clock or I/O.
IMPURE_CALLS = frozenset({"now", "utcnow", "today", "open", "input", "print"})


def level_of(module: str) -> int:
    return LAYOUT.levels[module.split(".")[1]]


def below_io() -> list[Path]:
    """List the files of the sans-IO layers."""
    return [
        path
        for path in source_files()
        if path.parent != SOURCE or not path.name.startswith("__")
        if level_of(module_name(path)) < FIRST_IO_LAYER
    ]


def impure_uses(tree: ast.Module, package: str, allowed: set[str]) -> list[str]:
    found = []
    for one in find_imports(tree, package):
        top = one.module.partition(".")[0]
        if top != "smtpx" and top not in PURE | allowed and not one.is_for_types_only:
            found.append(f"import {one.module}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else ""
            name = called.id if isinstance(called, ast.Name) else name
            if name in IMPURE_CALLS:
                found.append(f"{name}()")
    return found


def test_list_names_exactly_the_files_that_exist() -> None:
    listed = {
        f"{package}/{file}.py"
        for package, files in LAYOUT.order.items()
        for file in files
    }
    listed |= {f"{package}.py" for package, files in LAYOUT.order.items() if not files}
    existing = {
        str(path.relative_to(SOURCE))
        for path in source_files()
        if not path.name.startswith("__")
    }
    assert existing - listed == set(), "enter these in the list of ARCHITECTURE.md"
    assert listed - existing == set(), "ARCHITECTURE.md lists what does not exist"


def test_imports_point_to_lower_layers_and_to_files_above() -> None:
    mistakes = []
    for path in source_files():
        if path.name != "__main__.py" and path != SOURCE / "__init__.py":
            mistakes += layer_mistakes(module_name(path), imports_of(path), LAYOUT)
    assert mistakes == []


def test_nothing_below_the_net_layer_does_io_or_reads_a_clock() -> None:
    found = {}
    for path in below_io():
        module = module_name(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        uses = impure_uses(tree, module, PURE_EXCEPTIONS.get(module, set()))
        if uses:
            found[module] = uses
    assert found == {}


def test_only_the_asyncio_fronts_import_asyncio() -> None:
    """What both fronts share must not know that an event loop exists."""
    guilty = []
    for path in source_files():
        module = module_name(path)
        is_shared = not path.stem.startswith("aio")
        if module.startswith(("smtpx.client.", "smtpx.net.")) and is_shared:
            guilty += [
                f"{module} imports {one.module}"
                for one in imports_of(path)
                if one.module.partition(".")[0] in {"asyncio", "uvloop", "anyio"}
            ]
    assert guilty == []


# The checks themselves must fail when a rule is broken.

TINY = Layout(
    levels={"errors": 0, "wire": 1, "sasl": 1, "core": 2},
    order={
        "errors": [],
        "wire": ["octets", "address"],
        "sasl": ["plain"],
        "core": ["x"],
    },
)


@pytest.mark.parametrize(
    ("importer", "imported", "is_allowed"),
    [
        ("smtpx.wire.address", "smtpx.wire.octets.escape", True),
        ("smtpx.wire.octets", "smtpx.wire.address.Mailbox", False),
        ("smtpx.wire.octets", "smtpx.wire.octets.x", False),
        ("smtpx.wire.octets", "smtpx.wire.Mailbox", False),
        ("smtpx.wire", "smtpx.wire.address.Mailbox", True),
        ("smtpx.core.x", "smtpx.wire.address.Mailbox", True),
        ("smtpx.core.x", "smtpx.errors.Refuse", True),
        ("smtpx.sasl.plain", "smtpx.wire.octets", False),
        ("smtpx.wire.octets", "smtpx.core.x", False),
        ("smtpx.core.x", "smtpx.Mailbox", False),
        ("smtpx.core.x", "smtpx", False),
        ("smtpx.core.x", "smtpx.__version__", True),
        ("smtpx.core.x", "dataclasses.dataclass", True),
    ],
)
def test_layer_rules(importer: str, imported: str, is_allowed: bool) -> None:
    mistakes = layer_mistakes(importer, [Import(imported, False)], TINY)
    assert (mistakes == []) is is_allowed


def test_imports_for_types_count_except_those_of_errors() -> None:
    imports = [Import("smtpx.wire.octets", True)]
    assert layer_mistakes("smtpx.errors", imports, TINY) == []
    assert layer_mistakes("smtpx.sasl.plain", imports, TINY) != []


@pytest.mark.parametrize(
    "source",
    [
        "import socket",
        "from asyncio import sleep",
        "def f() -> None:\n    import time",
        "import datetime\ndatetime.datetime.now()",
        "open('x')",
    ],
)
def test_io_is_found(source: str) -> None:
    assert impure_uses(ast.parse(source), "smtpx.wire", set()) != []


def test_relative_and_guarded_imports_are_resolved() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "from . import octets\n"
        "from ..errors import Refuse\n"
        "if TYPE_CHECKING:\n"
        "    from .address import Mailbox\n"
    )
    assert list(find_imports(ast.parse(source), "smtpx.wire")) == [
        Import("typing.TYPE_CHECKING", False),
        Import("smtpx.wire.octets", False),
        Import("smtpx.errors.Refuse", False),
        Import("smtpx.wire.address.Mailbox", True),
    ]
