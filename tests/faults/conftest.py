"""The fronts of the client, and certificates."""

from __future__ import annotations

from tests.client.conftest import certificates, front

__all__ = ["certificates", "front"]
