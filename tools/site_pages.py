"""What the documentation site needs beyond Sphinx: names, references, navigation.

It is an extension of Sphinx, named in ``docs/conf.py``, and does what is of this
project alone, so that the pages stay plain Markdown that reads well on a forge too:

- ``{public-names}`` documents what `smtpx` exports, by the module that defines it. A
  new public name is on the site without an edit. ``{objects}`` documents other things.
- References. Docstrings name things as the code does, by a short name or by the module
  where they are kept; readers know them by their public names. What is not on the
  site, as of the standard library, has to exist: else the build fails.
- The lists of links in ``index.md`` are the navigation. A page that is in none of them
  fails the build.
- A page in ``project/`` shows the file of the repository that it links to.
- ``mermaid`` blocks of state diagrams, which forges draw with a script, are shown as
  tables, so that no reader has to run or to fetch a script.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

import smtpx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "smtpx"

# ---------------------------------------------------------------------- public names

_DIRECTIVE = re.compile(r"^```\{public-names\} (.*)$", re.MULTILINE)


def home_of(name: str) -> str:
    """Return the module that defines a public name.

    >>> home_of("Mailbox")
    'smtpx.wire.address'
    """
    return getattr(getattr(smtpx, name), "__module__", None) or "smtpx"


@functools.cache
def claims() -> frozenset[str]:
    """List the modules and packages that some page documents."""
    pages = (DOCS / "reference").rglob("*.md")
    texts = (page.read_text(encoding="utf-8") for page in pages)
    return frozenset(
        module
        for text in texts
        for given in _DIRECTIVE.findall(text)
        for module in given.split()
    )


def claim_of(name: str) -> str | None:
    """Return the module or package by which a page documents a public name.

    It is the one nearest to where the name is defined; None: no page has it.

    >>> claim_of("Client")
    'smtpx.client.blocking'
    """
    words = home_of(name).split(".")
    paths = (".".join(words[:length]) for length in range(len(words), 0, -1))
    return next((path for path in paths if path in claims()), None)


def names_of(module: str) -> list[str]:
    """List the public names that a page documents by naming a module.

    >>> names_of("smtpx.client.outgoing")
    ['Outcome', 'Outgoing', 'SendWindow']
    """
    names = (name for name in smtpx.__all__ if not name.startswith("_"))
    return sorted(name for name in names if claim_of(name) == module)


def autodoc_lines(path: str) -> str:
    r"""Write the directive that documents a class, a function or a value.

    >>> autodoc_lines("smtpx.send")
    '.. autofunction:: smtpx.send\n\n'
    """
    module, _, name = path.rpartition(".")
    value = getattr(importlib.import_module(module), name)
    if not inspect.isclass(value):
        kind = "function" if inspect.isroutine(value) else "data"
        return f".. auto{kind}:: {path}\n\n"
    # What is inherited from others is documented by them.
    foreign = [
        base.__name__
        for base in value.__mro__
        if not base.__module__.startswith("smtpx")
    ]
    inherited = ", ".join(foreign)
    return (
        f".. autoclass:: {path}\n   :members:\n   :inherited-members: {inherited}\n\n"
    )


class PublicNames(SphinxDirective):
    """Documents what `smtpx` exports of the modules that are named."""

    required_arguments = 1
    final_argument_whitespace = True

    def paths(self) -> list[str]:
        """List what to document."""
        return [
            f"smtpx.{name}"
            for module in self.arguments[0].split()
            for name in names_of(module)
        ]

    def run(self) -> list[nodes.Node]:
        """Hand the names over to autodoc."""
        text = "".join(map(autodoc_lines, self.paths()))
        return list(self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}```\n"))


class Objects(PublicNames):
    """Documents what is named, by the module where it is to be imported from."""

    def paths(self) -> list[str]:
        """List what to document."""
        return str(self.arguments[0]).split()


# Stands for a colon while Napoleon reads.
_COLON = "\ue000"


def hide_colon(
    _app: Sphinx,
    what: str,
    _name: str,
    _object: object,
    _options: object,
    lines: list[str],
) -> None:
    """Keep a colon in the text of an attribute from being read as the end of a type.

    Napoleon reads the first line of such a text as ``type: text``. Ours have none.
    """
    if what in {"attribute", "data", "property"} and lines:
        lines[0] = lines[0].replace(":", _COLON)


def show_colon(
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: object,
    _options: object,
    lines: list[str],
) -> None:
    """Put back what `hide_colon` hid."""
    lines[:] = [line.replace(_COLON, ":") for line in lines]


_INTERNAL = frozenset({"config_for", "opened", "moved", "ended", "is_crowded"})


def is_left_out(
    _app: Sphinx,
    _what: str,
    name: str,
    member: object,
    skip: bool,
    _options: object,
) -> bool | None:
    """Leave out what its class documents already, or what is the server's own."""
    is_field = (inspect.getdoc(member) or "").startswith("Alias for field number")
    function = getattr(member, "fget", None) or member
    owner = getattr(function, "__qualname__", "")
    is_internal = name in _INTERNAL and owner.startswith("Server.")
    return True if is_field or is_internal else None


def show_signature(
    _app: Sphinx,
    _what: str,
    _name: str,
    _object: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Write dots for defaults that are no Python, as ``<factory>``."""
    return _NO_LITERAL.sub(r"\1...", signature or "") or None, returned


_NO_LITERAL = re.compile(r"(= ?)<[^>]*>")


# ------------------------------------------------------------------------ references

_TYPE_VARIABLE = re.compile(r"[A-Z]\w*T(?:_co)?")


@functools.cache
def imported_names() -> dict[str, str]:
    """Map the names that files of the library import to where they come from."""
    found: dict[str, str] = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for alias in getattr(node, "names", ()):
                if isinstance(node, ast.ImportFrom):
                    found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                elif isinstance(node, ast.Import):
                    found[alias.asname or alias.name] = alias.name
    return found


def public_target(target: str) -> str | None:
    """Return the public name of what the code calls otherwise.

    >>> public_target("smtpx.wire.address.Mailbox.parse")
    'smtpx.Mailbox.parse'
    >>> public_target("Mailbox")
    'smtpx.Mailbox'
    """
    words = target.split(".")
    for position, word in enumerate(words):
        if word in smtpx.__all__ and not word.startswith("_"):
            prefix = ".".join(words[:position])
            if prefix in {"", "smtpx", home_of(word)}:
                return ".".join(["smtpx", *words[position:]])
    return None


def exists(target: str) -> bool:
    """Tell whether a dotted path leads to a module, or to something in one.

    >>> exists("ssl.SSLContext"), exists("ssl.Nonsense"), exists("nonsense")
    (True, False, False)
    """
    words = target.split(".")
    if hasattr(builtins, words[0]):
        words.insert(0, "builtins")
    for length in range(len(words), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(words[:length]))
        except ImportError:
            continue
        for word in words[length:]:
            if not hasattr(value, word):
                return word in getattr(value, "__annotations__", ())
            value = getattr(value, word)
        return True
    return False


def candidates(target: str, scopes: tuple[str | None, ...]) -> Iterator[str]:
    """List what a reference may mean, the likeliest first.

    Args:
        target: as it is written.
        scopes: the class and the module that it is written in.
    """
    head, dot, tail = target.partition(".")
    imported = imported_names().get(head, head) + dot + tail
    yield from (f"{scope}.{target}" for scope in scopes if scope)
    for path in (target, imported):
        yield public_target(path) or path
        yield path


def find_reference(
    app: Sphinx,
    env: BuildEnvironment,
    node: pending_xref,
    content: nodes.TextElement,
) -> nodes.Node | None:
    """Find what Sphinx did not: public names, and what lies beyond the site."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removesuffix("()")
    scopes = node.get("py:class"), node.get("py:module")
    objects = env.domains.python_domain.objects
    paths = list(candidates(target, scopes))
    for path in paths:
        if entry := objects.get(path):
            return make_refnode(
                app.builder, node["refdoc"], entry.docname, entry.node_id, content, path
            )
    # Without a link: what the site does not document, as long as there is such a thing.
    is_variable = node["reftype"] == "class" and _TYPE_VARIABLE.fullmatch(target)
    return content if is_variable or any(map(exists, paths)) else None


# ------------------------------------------------------------------------ the sources

_ITEM = re.compile(r"^- \[[^\]]+\]\(([^)#]+)\.md\)", re.MULTILINE)
_HEADING = re.compile(r"^(##|###) (.*)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\!)\[((?:[^\]`]|`[^`]*`)+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def navigation(text: str) -> str:
    r"""Make the tables of contents from the headings and the lists of ``index.md``.

    >>> print(navigation("## Reference\n- [States](reference/states.md)\n").strip())
    ```{toctree}
    :hidden:
    :caption: Reference
    <BLANKLINE>
    reference/states
    ```
    """
    parts = []
    section = ""
    # The text before the first heading, then a mark, a title and a text for each.
    pieces = _HEADING.split(text)[1:]
    for mark, title, body in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        section = title if mark == "##" else section
        caption = title if mark == "##" else f"{section} {title[0].lower()}{title[1:]}"
        if pages := _ITEM.findall(body):
            head = f":hidden:\n:caption: {caption}\n\n"
            parts.append(f"```{{toctree}}\n{head}" + "\n".join(pages) + "\n```\n")
    return "\n".join(parts)


def shown_files() -> dict[Path, Path]:
    """Map the files of the repository that pages in ``project/`` show to the pages."""
    return {
        (
            page.parent / _LINK.findall(page.read_text(encoding="utf-8"))[0][1]
        ).resolve(): page
        for page in (DOCS / "project").glob("*.md")
    }


def relink(text: str, at: Path, shown_at: Path) -> str:
    """Make the links of a file lead where they should on the site.

    Args:
        text: of the file.
        at: where the file is.
        shown_at: where its page is.
    """

    def replace(match: re.Match[str]) -> str:
        label, target, anchor = match.groups()
        if "://" in target:
            return match[0]
        path = (at.parent / target).resolve()
        path = shown_files().get(path, path)
        if not path.is_relative_to(DOCS):
            return label
        up = len(shown_at.parent.relative_to(DOCS).parts)
        return f"[{label}]({'../' * up}{path.relative_to(DOCS)}{anchor or ''})"

    return _LINK.sub(replace, text)


def prepare_source(_app: Sphinx, name: str, source: list[str]) -> None:
    """Change a page before it is read."""
    page = DOCS / f"{name}.md"
    if name == "index":
        source[0] += "\n" + navigation(source[0])
    file = {page: file for file, page in shown_files().items()}.get(page, page)
    text = source[0] if file == page else file.read_text(encoding="utf-8")
    source[0] = _BLOCK.sub(_trim_block, relink(text, file, page))


def _trim_block(match: re.Match[str]) -> str:
    """Drop the empty line that ends what doctest reads."""
    return f"```{match[1]}\n{match[2].rstrip()}\n```"


_ARROW = re.compile(r"^\s*(\S+) --> (\w+)(?:: (.*))?$", re.MULTILINE)


class StateDiagram(SphinxDirective):
    """Shows a state diagram in Mermaid's language as a table."""

    has_content = True
    HEADING: ClassVar = ["state", "what happens", "next state"]

    def run(self) -> list[nodes.Node]:
        """Make the table."""
        rows = [list(self.HEADING)]
        for state, following, texts in _ARROW.findall("\n".join(self.content)):
            if state == "[*]":
                rows.append(["", "it begins", following])
            rows += [[state, each, following] for each in texts.split(" / ") if each]
        rows[1:] = sorted(rows[1:], key=lambda row: [r[0] for r in rows].index(row[0]))
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|---|---|---|")
        return list(self.parse_text_to_nodes("\n".join(lines)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Add all this to Sphinx."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("objects", Objects)
    app.add_directive("mermaid", StateDiagram)
    app.connect("source-read", prepare_source)
    app.connect("missing-reference", find_reference)
    # Before Napoleon, whose priority is the default.
    app.connect("autodoc-process-docstring", hide_colon, priority=100)
    app.connect("autodoc-process-docstring", show_colon, priority=900)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("autodoc-skip-member", is_left_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
