"""Ports for programs that have to be told which one to listen on."""

from __future__ import annotations

import contextlib
import random
import socket

HOST = "127.0.0.1"
# Below those that systems give to connections (IANA: from 49152 on, Linux: from 32768
# on): one of these would take the port before the program does.
_PORTS = range(20_000, 32_000)
_ATTEMPTS = 1_000


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    for port in random.SystemRandom().sample(_PORTS, _ATTEMPTS):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
    raise RuntimeError(f"no port of {_ATTEMPTS} is free: see `ss -tln`")
