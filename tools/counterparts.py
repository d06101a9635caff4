"""Check the table of counterparts, and write the page of it.

The table, docs/reference/counterparts.toml, says for each name in the documents of
other libraries what stands here for it, and which test uses that. The names that must
be in it are in ``reference_names.txt`` beside this file, so no document is needed:

    python tools/counterparts.py    check, and write docs/reference/counterparts.md

Where the documents lie beside a clone, in ``../shared/reference``, the names are
compared with what they hold.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "reference" / "counterparts.toml"
PAGE = ROOT / "docs" / "reference" / "counterparts.md"
NAMES = ROOT / "tools" / "reference_names.txt"
#: The documents, where they lie beside a clone; the names can be compared with them.
DOCUMENTS = ROOT.parent / "shared" / "reference"

_USE = re.compile(r"(?P<path>[A-Za-z_][\w.]*)(?:\((?P<parameter>\w+)\))?")
_KEYS: Final = ({"use", "test"}, {"use", "test", "note"}, {"missing"})


@dataclass(frozen=True, slots=True)
class Row:
    """What stands here for one name.

    Attributes:
        document: where the name is from.
        name: as it is there, with its type before it.
        uses: the counterparts, as import paths.
        test: a file and a function in it, which uses them all.
        note: what else there is to say.
        missing: what is wanted, if there is no counterpart yet.
    """

    document: str
    name: str
    uses: tuple[str, ...] = ()
    test: str = ""
    note: str = ""
    missing: str = ""


def read_table(path: Path = TABLE) -> tuple[dict[str, str], list[Row]]:
    """Read the titles of the documents, and the rows."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = []
    for document, content in table.items():
        for name, row in content["names"].items():
            if set(row) not in _KEYS:
                raise ValueError(f"{document}, {name}: either use and test, or missing")
            rows.append(
                Row(
                    document,
                    name,
                    tuple(row.get("use", "").split()),
                    row.get("test", ""),
                    row.get("note", ""),
                    row.get("missing", ""),
                )
            )
    return {document: content["title"] for document, content in table.items()}, rows


def read_names(path: Path = NAMES) -> dict[str, list[str]]:
    """Read the names that must be in the table, by document."""
    names: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            names[line[2:]] = current = []
        elif line:
            current.append(line)
    return names


# ------------------------------------------------------------------ does it exist


def find_mistake(use: str) -> str | None:
    """Say why a counterpart does not exist; None if it does.

    >>> find_mistake("smtpx.Client.noop")
    >>> find_mistake("smtpx.send(to)")
    >>> find_mistake("smtpx.Client.nope")
    'smtpx.Client has no nope'
    """
    match = _USE.fullmatch(use)
    if match is None:
        return f"{use} is no import path"
    found, rest = _import(match["path"])
    owner = match["path"].removesuffix("." + ".".join(rest))
    for position, name in enumerate(rest):
        if not hasattr(found, name):
            # What only instances have can be the end of a path only.
            is_last = position == len(rest) - 1 and match["parameter"] is None
            if is_last and inspect.isclass(found) and name in _instance_names(found):
                return None
            return f"{owner} has no {name}"
        found, owner = getattr(found, name), f"{owner}.{name}"
    parameter = match["parameter"]
    if parameter and not _has_parameter(found, parameter):
        return f"{owner} has no parameter {parameter}"
    return None


def _import(path: str) -> tuple[object, list[str]]:
    """Import the module that a path begins with; return it, and the rest."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            return importlib.import_module(".".join(parts[:end])), parts[end:]
        except ModuleNotFoundError as error:
            if error.name is None or not ".".join(parts).startswith(error.name):
                raise
    raise ValueError(f"no module in {path}")


def _has_parameter(found: object, name: str) -> bool:
    return callable(found) and name in inspect.signature(found).parameters


def _instance_names(kind: type) -> set[str]:
    """Return the fields of a class, and what its methods set on ``self``."""
    names: set[str] = set()
    for one in kind.__mro__[:-1]:
        names.update(inspect.get_annotations(one))
        if one.__module__.startswith("smtpx."):
            source = textwrap.dedent(inspect.getsource(one))
            names.update(
                node.attr
                for node in ast.walk(ast.parse(source))
                if isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == "self"
            )
    return names


# ---------------------------------------------------------------- does a test use it


def find_words(test: str) -> set[str]:
    """Return the words that a test is made of, with what it calls in its own file.

    Raises:
        ValueError: there is no such test.
    """
    path, _, name = test.partition("::")
    if not name.startswith("test_"):
        raise ValueError(f"{test} is no test")
    definitions = _definitions(path)
    if name not in definitions:
        raise ValueError(f"there is no {test}")
    words: set[str] = set()
    waiting = [name]
    while waiting:
        new = definitions.pop(waiting.pop(), set()) - words
        words |= new
        waiting += new
    return words


def _definitions(path: str) -> dict[str, set[str]]:
    """Return the words of each function and class of a file of tests."""
    return {name: set(words) for name, words in _parse_tests(path).items()}


@functools.cache
def _parse_tests(path: str) -> Mapping[str, frozenset[str]]:
    file = ROOT / path
    if not file.is_file():
        raise ValueError(f"there is no file {path}")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {
        node.name: frozenset(_words(node))
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    # What stands beside, as a package's helpers, counts like the file's own.
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "tests."
        ):
            helper = f"{(node.module or '').replace('.', '/')}.py"
            if (ROOT / helper).is_file() and helper != path:
                found = {**_parse_tests(helper), **found}
    return found


def _words(tree: ast.AST) -> Iterator[str]:
    """List the names, attributes, parameters and arguments of some code."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.arg(arg=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case _:
                pass


def mentioned_name(use: str) -> str:
    """Return the word by which a test shows that it uses a counterpart.

    A parameter may be given by position, so its function's name will do.

    >>> mentioned_name("smtpx.Client.noop"), mentioned_name("smtpx.send(to)")
    ('noop', 'send')
    """
    return use.partition("(")[0].rpartition(".")[2]


# ----------------------------------------------------------------------- mistakes


def all_mistakes() -> list[str]:
    """Check the whole table."""
    titles, rows = read_table()
    mistakes = []
    wanted = read_names()
    for document in sorted(wanted.keys() | titles.keys()):
        listed = {row.name for row in rows if row.document == document}
        names = set(wanted.get(document, ()))
        mistakes += [
            f"{document}: {name} is not in the table" for name in names - listed
        ]
        mistakes += [f"{document}: nobody has {name}" for name in listed - names]
    for row in rows:
        mistakes += [f"{row.document}, {row.name}: {why}" for why in row_mistakes(row)]
    return mistakes


def row_mistakes(row: Row) -> list[str]:
    """Check one row."""
    if row.missing:
        return []
    if not row.uses:
        return ["no counterpart"]
    mistakes = [why for use in row.uses if (why := find_mistake(use)) is not None]
    try:
        words = find_words(row.test)
    except ValueError as error:
        return [*mistakes, str(error)]
    mistakes += [
        f"{row.test} does not use {use}"
        for use in row.uses
        if mentioned_name(use) not in words
    ]
    return mistakes


# ------------------------------------------------------------------- the documents

_FUNCTION = re.compile(r"\bfunc (?:\((?:\w+ )?\*?(\w+)\) )?([A-Z]\w*)")
_TYPE = re.compile(r"^(?:▹ Example\n)?(?:- )?type ([A-Z]\w*)", re.MULTILINE)
_ERROR = re.compile(r"\b(Err[A-Z]\w+|NoEnhancedCode|EnhancedCodeNotSet)\b")
_STRUCT = re.compile(
    r"\btype (\w+) (?:struct|interface) \{(.*?)(?:\}|\n\n\w|\Z)", re.DOTALL
)
_METHOD = re.compile(r"(?<![\w.])([A-Z]\w*)\(")
_FIELD = re.compile(
    r"(?<![\w.])([A-Z]\w*)\s+(?:\*|\[\])*(?:string|int|bool|(?:net|tls|io|time|zap|mail|"
    r"throttled|textproto)\.\w+|BodyType|DSNReturn|DSNNotify|EnhancedCode|Backend|"
    r"ConnectionState|HandlerFunc|AuthFunc|Attachment|EmbeddedFile)(?=\s)"
)
_SENTENCE = re.compile(
    r"^(?:An? )?([A-Z]\w+) (?:returns|retruns|creates|connects|works|is an?|contains|"
    r"specifies|allows|represents|interface)\b",
    re.MULTILINE,
)
_BULLET = re.compile(r"^  • (.+)$", re.MULTILINE)


def names_in_document(text: str) -> set[str]:
    """Find the names that a document has: functions, types, fields, methods, points."""
    names = {
        f"{owner}.{name}" if owner else name for owner, name in _FUNCTION.findall(text)
    }
    names.update(_TYPE.findall(text))
    names.update(_ERROR.findall(text))
    names.update(_BULLET.findall(text))
    if "# Functions" in text:
        names.update(_SENTENCE.findall(text))
    for owner, body in _STRUCT.findall(text):
        names.update(f"{owner}.{name}" for name in _FIELD.findall(body))
        if "interface {" in text:
            names.update(f"{owner}.{name}" for name in _METHOD.findall(body))
    return names


def document_mistakes(folder: Path) -> list[str]:
    """Compare the list of names with the documents in a folder, in order."""
    mistakes = []
    paths = sorted(folder.glob("*.txt"))
    listed = list(read_names().items())
    if len(paths) != len(listed):
        return [f"{folder} has {len(paths)} documents, the list has {len(listed)}"]
    for path, (document, names) in zip(paths, listed, strict=True):
        text = path.read_text(encoding="utf-8")
        found = names_in_document(text)
        mistakes += [f"{document}: {name} is not listed" for name in found - set(names)]
        mistakes += [
            f"{document}: the document has no {name}"
            for name in names
            if name.rpartition(".")[2].rstrip(".") not in text and name not in text
        ]
    return mistakes


# ----------------------------------------------------------------------- the page


def counterparts_page() -> str:
    """Make the page."""
    titles, rows = read_table()
    parts = [
        "# Counterparts\n\n"
        "What stands here for each name in the documents of other libraries, and a\n"
        "test that uses it. Written by `make docs` from `counterparts.toml`.\n"
    ]
    for document, title in titles.items():
        parts.append(f"\n## {title}\n\n| there | here | test |\n|---|---|---|\n")
        parts += [_line(row) for row in rows if row.document == document]
    return "".join(parts)


def _line(row: Row) -> str:
    name = row.name if " " in row.name else f"`{row.name}`"
    if row.missing:
        return f"| {name} | missing: {row.missing} | |\n"
    here = ", ".join(f"`{use}`" for use in row.uses)
    note = f"; {row.note}" if row.note else ""
    path, _, test = row.test.partition("::")
    return f"| {name} | {here}{note} | [`{test}`](../../{path}) |\n"


def main() -> int:
    """Run as the module's docstring says."""
    PAGE.write_text(counterparts_page(), encoding="utf-8")
    mistakes = all_mistakes()
    if DOCUMENTS.is_dir():
        mistakes += document_mistakes(DOCUMENTS)
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    return 1 if mistakes else 0


if __name__ == "__main__":
    raise SystemExit(main())
