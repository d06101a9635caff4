"""Options in sections, so that a long help text stays easy to read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SectionedCommand", "SectionedOption", "octet_count", "section"]


class SectionedOption(click.Option):
    """An option that stands under a heading in the help text.

    Args:
        section: the heading.
        args: as for `click.Option`.
        kwargs: likewise.
    """

    def __init__(self, *args: Any, section: str = "Other", **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.section = section


def section(name: str) -> Callable[..., Callable[[Any], Any]]:
    """Return what `click.option` is, for options under one heading.

    Args:
        name: the heading.
    """

    def option(*declarations: str, **attributes: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - click's own
        return click.option(
            *declarations, cls=SectionedOption, section=name, **attributes
        )

    return option


class SectionedCommand(click.Command):
    """A command whose help text has its options under headings."""

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the options, section by section, in the order of their definition."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            # An argument has no help of its own: the text above says what it is.
            record = (
                parameter.get_help_record(ctx)
                if isinstance(parameter, click.Option)
                else None
            )
            if record is not None:
                name = getattr(parameter, "section", "Other")
                sections.setdefault(name, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=26)


_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_COUNT: Final = re.compile(r"(\d{1,15})([kmg]?)(?:i?b)?", re.IGNORECASE | re.ASCII)


def octet_count(text: str) -> int:
    """Parse a size such as ``500``, ``64k`` or ``50M``, in powers of 1024.

    Args:
        text: of an option.

    Raises:
        click.BadParameter: it is none.

    >>> octet_count("64k")
    65536
    """
    match = _COUNT.fullmatch(text)
    if match is None or not int(match[1]):
        raise click.BadParameter(f"{text!r} is no size: write 500, 64k or 50M")
    return int(match[1]) * _UNITS[match[2].lower()]
