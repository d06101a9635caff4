"""SMTP, ESMTP and LMTP: client and server, asyncio and blocking.

Names are loaded when first used (PEP 562), so ``import smtpx`` alone is cheap: it
loads no event loop, no TLS and no optional package.

>>> import smtpx
>>> smtpx.Mailbox.parse("postmaster@example.com").domain
'example.com'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

__all__ = ["__version__"]

__version__ = "0.1.0"

# The same as the imports above, for the interpreter; a test compares the two.
_NAMES = {}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module, once."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what is public, loaded or not."""
    return sorted({*globals(), *__all__})
