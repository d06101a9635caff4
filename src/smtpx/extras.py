"""What says, where a package of an extra is imported, which extra to install."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["extra"]


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Have the imports of a block say in one sentence what is not installed.

    Args:
        name: of the extra.
        what: needs it; the sentence begins with it.

    Raises:
        ImportError: a package is not installed.

    >>> with extra("nonsense", "nonsense"):
    ...     import no_such_package
    Traceback (most recent call last):
    ImportError: nonsense needs no_such_package: pip install 'smtpx[nonsense]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        message = f"{what} needs {package}: pip install 'smtpx[{name}]'"
        raise ImportError(message, name=error.name) from None
