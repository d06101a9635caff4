"""Write docs/reference/command-line.md: every command, its options, the exit codes.

All of it comes from the commands themselves, so it is what ``--help`` says:

    python tools/command_line.py
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from smtpx.cli import failures
from smtpx.cli.group import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "command-line.md"

_HEADING = """\
# The command line

Written by `make docs` from the commands; `smtpx COMMAND --help` says the same. They
come with `pip install smtpx[cli]`, and `python -m smtpx` runs them too.
"""

_EXIT_CODES = """
## Exit codes

Those of `sysexits.h`, which mail programs have used since 4.3BSD. What went wrong is
one line on standard error; `SMTPX_TRACEBACK=1` in the environment shows where.

| code | name | |
|---|---|---|
"""


def commands(
    group: click.Group, path: str = "smtpx"
) -> Iterator[tuple[str, click.Command]]:
    """List the commands of a group, and those of its groups."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def command_part(path: str, command: click.Command) -> str:
    """Make the part of the page about a command."""
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"\n## `{path}`\n\n```text\n{usage}\n```\n", _help_text(command.help)]
    for name, options in sections(command).items():
        parts.append(f"\n### {name}\n\n| option | |\n|---|---|\n")
        parts += [option_row(option, context) for option in options]
    parts.append(_help_text(command.epilog))
    return "".join(parts)


def sections(command: click.Command) -> dict[str, list[click.Option]]:
    """Sort the options of a command into the sections of its help text."""
    found: dict[str, list[click.Option]] = {}
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            found.setdefault(getattr(option, "section", "Options"), []).append(option)
    return found


def option_row(option: click.Option, context: click.Context) -> str:
    r"""Make the row of an option.

    >>> option = click.Option(["-s", "--server"], metavar="URL", help="Where to.")
    >>> option_row(option, click.Context(click.Command("send")))
    '| `-s`, `--server URL` | Where to. |\n'
    """
    record = option.get_help_record(context)
    names, text = record or ("", "")
    shown = ", ".join(f"`{name}`" for name in names.split(", "))
    return f"| {_cell(shown)} | {_cell(text)} |\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


def _help_text(text: str | None) -> str:
    r"""Turn a help text into Markdown: what ``\b`` keeps as it is becomes a block."""
    parts = []
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        kept = paragraph.strip("\n")
        if kept.startswith("\b"):
            head, _, rest = kept.removeprefix("\b\n").partition("\n")
            block = rest if head.endswith(":") else f"{head}\n{rest}"
            parts += [head] if head.endswith(":") else []
            parts.append(f"```text\n{_dedent(block)}\n```")
        elif kept:
            parts.append(kept)
    return "".join(f"\n{part}\n" for part in parts)


def _dedent(block: str) -> str:
    return re.sub("^  ", "", block, flags=re.MULTILINE).strip("\n")


def exit_codes() -> Iterator[tuple[int, str, str]]:
    """List the exit codes: number, name, and the text below each in the source."""
    source = Path(failures.__file__).read_text(encoding="utf-8")
    kind = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "ExitCode"
    )
    texts = {}
    name = ""
    for member in kind.body:
        if isinstance(member, ast.Assign):
            name = ast.unparse(member.targets[0])
            texts[name] = "All went well."
        elif isinstance(member, ast.Expr) and name:
            texts[name] = ast.literal_eval(member.value)
    for code in failures.ExitCode:
        yield code.value, code.name, texts[code.name]


def page() -> str:
    """Make the page."""
    parts = [_HEADING]
    parts += [command_part(path, command) for path, command in commands(cli)]
    parts.append(_EXIT_CODES)
    parts += [f"| {code} | {name} | {text} |\n" for code, name, text in exit_codes()]
    return "".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
