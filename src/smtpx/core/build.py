"""Which build this is: all of it in Python, or the hot path as machine code.

Both are made from the same source; see docs/explanation/performance.md.
"""

from __future__ import annotations

from smtpx.core import buffer

__all__ = ["is_compiled"]


def is_compiled() -> bool:
    """Tell whether the state machine of the server runs as machine code.

    >>> is_compiled() in {True, False}
    True
    """
    return not (buffer.__file__ or "").endswith(".py")
