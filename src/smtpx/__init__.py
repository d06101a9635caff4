"""SMTP, ESMTP and LMTP: client and server, asyncio and blocking.

Names are loaded when first used (PEP 562), so ``import smtpx`` alone is cheap: it
loads no event loop, no TLS and no optional package.

>>> import smtpx
>>> "__version__" in smtpx.__all__
True
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# Where each public name lives. The imports under TYPE_CHECKING say the same to a
# type checker; a test compares the two.
_MODULE_OF: dict[str, str] = {}

__all__ = ["__version__"]  # noqa: PLE0604 - filled from the table below
__all__ += sorted(_MODULE_OF)


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
    return sorted({*globals(), *_MODULE_OF})
