"""Every target by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from fuzz.targets import cores, framing, message, sasl, stores, verify, wire
from smtpx.sasl.registry import CLIENT_MECHANISMS, SERVER_MECHANISMS

__all__ = ["TARGETS", "TOGETHER", "Target", "put_together"]

Target: TypeAlias = Callable[[bytes], None]

_FILES: Final = (wire, framing, cores, message, verify, stores)


def _all() -> dict[str, Target]:
    targets: dict[str, Target] = {
        name: getattr(file, name) for file in _FILES for name in file.__all__
    }
    for name, server in SERVER_MECHANISMS.items():
        key = name.lower().replace("-", "_")
        targets[f"{key}_server"] = sasl.make_server_target(server)
        targets[f"{key}_client"] = sasl.make_client_target(CLIENT_MECHANISMS[name])
    return targets


TARGETS: Final[Mapping[str, Target]] = MappingProxyType(_all())

TOGETHER: Final = "together"
"""The name of all targets as one: for a short run, as a process takes seconds to start.
"""


def put_together(octets: bytes) -> None:
    """Run the target that the first octet says."""
    names = tuple(TARGETS)
    TARGETS[names[octets[0] % len(names) if octets else 0]](octets[1:])
