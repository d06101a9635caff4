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

# What was returned before is not returned again: nobody may listen there yet.
_given: set[int] = set()


def free_port() -> int:
    """Return a port of loopback on which nobody listens, another one each time."""
    for port in random.SystemRandom().sample(_PORTS, _ATTEMPTS):
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            _given.add(port)
            return port
    raise RuntimeError(f"no port of {_ATTEMPTS} is free: see `ss -tln`")
