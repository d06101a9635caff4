"""The mechanisms that smtpx knows, by name (RFC 4954 section 3).

Whoever has one of their own makes a mapping with it, as in
``{**SERVER_MECHANISMS, "X-TOKEN": TokenServer}``, and passes that on.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from smtpx.sasl.login import LoginClient, LoginServer
from smtpx.sasl.plain import PlainClient, PlainServer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpx.sasl.mechanism import ClientMechanism, ServerMechanism

__all__ = ["CLIENT_MECHANISMS", "SERVER_MECHANISMS"]

# In order of preference, best first: EHLO lists them so, and clients try them so.
SERVER_MECHANISMS: Final[Mapping[str, type[ServerMechanism]]] = MappingProxyType(
    {mechanism.name: mechanism for mechanism in (PlainServer, LoginServer)}
)
CLIENT_MECHANISMS: Final[Mapping[str, type[ClientMechanism]]] = MappingProxyType(
    {mechanism.name: mechanism for mechanism in (PlainClient, LoginClient)}
)
