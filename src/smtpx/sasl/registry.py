"""The mechanisms that smtpx knows, by name (RFC 4954 section 3).

Whoever has one of their own makes a mapping with it, as in
``{**SERVER_MECHANISMS, "X-TOKEN": TokenServer}``, and passes that on.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from smtpx.sasl.anonymous import AnonymousClient, AnonymousServer
from smtpx.sasl.cram_md5 import CramMd5Client, CramMd5Server
from smtpx.sasl.external import ExternalClient, ExternalServer
from smtpx.sasl.login import LoginClient, LoginServer
from smtpx.sasl.oauth import (
    OAuthBearerClient,
    OAuthBearerServer,
    XOAuth2Client,
    XOAuth2Server,
)
from smtpx.sasl.plain import PlainClient, PlainServer
from smtpx.sasl.scram_client import (
    ScramSha1Client,
    ScramSha1PlusClient,
    ScramSha256Client,
    ScramSha256PlusClient,
)
from smtpx.sasl.scram_server import (
    ScramSha1PlusServer,
    ScramSha1Server,
    ScramSha256PlusServer,
    ScramSha256Server,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpx.sasl.mechanism import ClientMechanism, ServerMechanism

__all__ = ["CLIENT_MECHANISMS", "DEFAULT_SERVER_MECHANISMS", "SERVER_MECHANISMS"]

# In order of preference, best first: EHLO lists them so, and clients try them so.
# First those in which the server proves itself too; a bound channel is worth more than
# the longer hash, as HMAC-SHA-1 is not broken. Then tokens, which can be taken back.
# PLAIN comes before CRAM-MD5: under TLS, which PLAIN needs, nothing is gained by a
# digest for which the server must keep the password readable.
_SERVERS: Final[tuple[type[ServerMechanism], ...]] = (
    ScramSha256PlusServer,
    ScramSha1PlusServer,
    ScramSha256Server,
    ScramSha1Server,
    OAuthBearerServer,
    XOAuth2Server,
    ExternalServer,
    PlainServer,
    LoginServer,
    CramMd5Server,
    AnonymousServer,
)
_CLIENTS: Final[tuple[type[ClientMechanism], ...]] = (
    ScramSha256PlusClient,
    ScramSha1PlusClient,
    ScramSha256Client,
    ScramSha1Client,
    OAuthBearerClient,
    XOAuth2Client,
    ExternalClient,
    PlainClient,
    LoginClient,
    CramMd5Client,
    AnonymousClient,
)

SERVER_MECHANISMS: Final[Mapping[str, type[ServerMechanism]]] = MappingProxyType(
    {mechanism.name: mechanism for mechanism in _SERVERS}
)
CLIENT_MECHANISMS: Final[Mapping[str, type[ClientMechanism]]] = MappingProxyType(
    {mechanism.name: mechanism for mechanism in _CLIENTS}
)

#: What a server offers to sessions that can answer, unless told otherwise. To be asked
#: for by name are
#:
#: - the -PLUS mechanisms, at both ends: RFC 9266 section 3 makes ``tls-exporter`` the
#:   type to expect under TLS 1.3, and Python's ``ssl`` cannot give it. A peer that
#:   takes it for granted would fail, where without -PLUS it succeeds. They are for
#:   who knows that the peers bind with ``tls-server-end-point``;
#: - SCRAM-SHA-1: it needs a second set of keys, which few sessions have.
#:
#: CRAM-MD5 and ANONYMOUS are here since a session must override a hook that serves
#: nothing else: that is the decision that RFC 4505 section 5 wants.
DEFAULT_SERVER_MECHANISMS: Final = tuple(
    name
    for name, mechanism in SERVER_MECHANISMS.items()
    if not mechanism.binds_channel and name != "SCRAM-SHA-1"
)
