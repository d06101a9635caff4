"""Which hook of a session answers which question of a mechanism."""

from __future__ import annotations

import secrets
import ssl
import time
from typing import TYPE_CHECKING, Final

from smtpx.net.binding import server_bindings
from smtpx.sasl.anonymous import AdmitAnonymous
from smtpx.sasl.cram_md5 import LookupPassword
from smtpx.sasl.external import IdentifyChannel
from smtpx.sasl.mechanism import CheckPassword, SessionFacts
from smtpx.sasl.oauth import CheckToken
from smtpx.sasl.scram_server import LookupScram
from smtpx.server.session import Session

if TYPE_CHECKING:
    import asyncio

    from smtpx.core.config import ServerConfig
    from smtpx.sasl.mechanism import DescribeSession, Question, ServerMechanism
    from smtpx.server.options import ServerOptions
    from smtpx.server.work import HookCall

__all__ = ["can_answer", "describe_session", "question_call", "question_hook"]

# 144 bits, in 24 characters of base64.
_NONCE_OCTETS: Final = 18

# How the name of a mechanism ends that binds the channel (RFC 5802 section 4).
_PLUS: Final = "-PLUS"

_HOOKS: Final[dict[type[Question], tuple[str, HookCall]]] = {
    CheckPassword: (
        "check_password",
        lambda session, question: session.check_password(
            question.user, question.password
        ),
    ),
    LookupScram: (
        "scram_credentials",
        lambda session, question: session.scram_credentials(
            question.user, question.hash_name
        ),
    ),
    LookupPassword: (
        "readable_password",
        lambda session, question: session.readable_password(question.user),
    ),
    CheckToken: (
        "check_token",
        lambda session, question: session.check_token(question),
    ),
    IdentifyChannel: (
        "external_identity",
        lambda session, question: session.external_identity(question.authorize_as),
    ),
    AdmitAnonymous: (
        "admit_anonymous",
        lambda session, question: session.admit_anonymous(question.trace),
    ),
}


def can_answer(session: type[Session], mechanism: type[ServerMechanism]) -> bool:
    """Say whether a class of sessions overrides the hook that a mechanism needs.

    >>> from smtpx.sasl.plain import PlainServer
    >>> class Users(Session):
    ...     async def check_password(self, user, password): ...
    >>> can_answer(Users, PlainServer), can_answer(Session, PlainServer)
    (True, False)
    """
    if mechanism.asks is None:
        return True
    name = _hook_name(mechanism.asks)
    return getattr(session, name) is not getattr(Session, name)


def question_hook(question: Question) -> str:
    """Return the name of the hook that answers a question."""
    return _hook_name(type(question))


def question_call(question: Question) -> HookCall:
    """Return what calls the hook for a question."""
    row = _HOOKS.get(type(question))
    return _answer_question if row is None else row[1]


def describe_session(
    question: DescribeSession,
    transport: asyncio.BaseTransport,
    config: ServerConfig,
    options: ServerOptions,
    *,
    is_local: bool,
) -> SessionFacts:
    """Answer what a mechanism asks the server itself.

    Args:
        question: it.
        transport: of the connection, after its handshake if it is under TLS.
        config: of the machine.
        options: of the server.
        is_local: the client is on loopback or a unix socket.
    """
    tls = transport.get_extra_info("ssl_object")
    is_tls = isinstance(tls, ssl.SSLObject | ssl.SSLSocket)
    offered = config.offered_mechanisms(is_tls=is_tls, is_local=is_local)
    bindings: tuple[bytes, ...] = ()
    # Only for a mechanism that has a use for them: finding out costs milliseconds.
    if is_tls and question.channel_binding and question.mechanism.endswith(_PLUS):
        bindings = server_bindings(tls, question.channel_binding)
    return SessionFacts(
        nonce=secrets.token_urlsafe(_NONCE_OCTETS).encode("ascii"),
        secret=options.auth_secret,
        unix_time=int(time.time()),
        hostname=config.hostname,
        iterations=options.scram_iterations,
        offers_binding=question.mechanism + _PLUS in offered,
        channel_bindings=bindings,
    )


def _hook_name(kind: type[Question]) -> str:
    name, _ = _HOOKS.get(kind, ("answer_question", None))
    return name


async def _answer_question(session: Session, question: Question) -> object:
    return await session.answer_question(question)
