"""Logging in, as a probe does it: by one mechanism, which it says.

What a client does has more to it, and none of what a probe wants: it tries the next
mechanism by itself, and hides which one it was.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from smtpx.errors import AuthenticationFailed, BadSyntax, SASLError
from smtpx.net.binding import client_bindings
from smtpx.sasl.mechanism import ClientContext, Credentials, Proof
from smtpx.sasl.registry import CLIENT_MECHANISMS
from smtpx.wire import commands
from smtpx.wire.octets import decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.client.options import Auth
    from smtpx.probe.dialogue import Dialogue
    from smtpx.sasl.mechanism import ClientMechanism
    from smtpx.wire.replies import Reply

__all__ = ["choose_mechanisms", "log_in", "password_of"]

# 144 bits, in 24 characters of base64.
_NONCE_OCTETS: Final = 18


def password_of(auth: Auth) -> str:
    """Return the password.

    Args:
        auth: whom to log in as.

    Raises:
        ValueError: it is not there as text.
    """
    if auth.token is not None or not isinstance(auth.password, str):
        raise ValueError(
            "a probe logs in by a password that is text; a token is one, too, if a "
            "mechanism for tokens is named"
        )
    return auth.password


def choose_mechanisms(
    offered: Sequence[str], auth: Auth, *, is_private: bool
) -> tuple[str, ...]:
    """Return the mechanisms that fit, the best first.

    Args:
        offered: by the server.
        auth: whom to log in as; it may name mechanisms.
        is_private: nobody on the way can read along, or may.

    >>> from smtpx.client.options import Auth
    >>> offered = ["LOGIN", "PLAIN", "SCRAM-SHA-256", "XOAUTH2"]
    >>> choose_mechanisms(offered, Auth("user", "secret"), is_private=True)
    ('SCRAM-SHA-256', 'PLAIN', 'LOGIN')
    >>> choose_mechanisms(offered, Auth("user", "secret"), is_private=False)
    ('SCRAM-SHA-256',)
    """
    named = tuple(name.upper() for name in auth.mechanisms or ())
    fitting = named or tuple(
        name
        for name, kind in CLIENT_MECHANISMS.items()
        if kind.proof is Proof.PASSWORD and not kind.binds_channel
    )
    return tuple(
        name
        for name in fitting
        if name in CLIENT_MECHANISMS
        and name in offered
        and (is_private or not CLIENT_MECHANISMS[name].shows_password)
    )


def log_in(dialogue: Dialogue, name: str, credentials: Credentials) -> Reply:
    """Authenticate; return the last reply.

    Args:
        dialogue: where AUTH can be said.
        name: the mechanism.
        credentials: whom to log in as.

    Raises:
        AuthenticationFailed: the exchange was broken off, by us.
    """
    tls = dialogue.tls
    context = ClientContext(
        nonce=secrets.token_urlsafe(_NONCE_OCTETS).encode("ascii"),
        host="" if tls is None else tls.server_hostname or "",
        channel_bindings=client_bindings(tls),
    )
    mechanism = CLIENT_MECHANISMS[name](credentials, context)
    dialogue.secrets = (credentials.password,) if credentials.password else ()
    try:
        return _exchange(dialogue, mechanism)
    except (SASLError, BadSyntax) as error:
        raise AuthenticationFailed(
            f"{name} broken off: {error}", phase="command"
        ) from None
    finally:
        dialogue.secrets = ()


def _exchange(dialogue: Dialogue, mechanism: ClientMechanism) -> Reply:
    """Make the exchange.

    Raises:
        SASLError: the server breaks the mechanism's rules, or is not who it should be.
        BadSyntax: what it says is no base64.
    """
    initial = mechanism.start()
    if initial:
        _hide(dialogue, initial)
    line = commands.Auth(mechanism.name, initial).encode()
    dialogue.send(line, shown=f"AUTH {mechanism.name} ***")
    reply = dialogue.reply()
    while reply.is_intermediate:
        response = mechanism.respond(
            decode_base64(reply.text.encode("utf-8", "surrogateescape"))
        )
        _hide(dialogue, response)
        dialogue.send(encode_base64(response) + b"\r\n", shown="***")
        reply = dialogue.reply()
    if reply.is_positive:
        mechanism.succeed(None)
    return reply


def _hide(dialogue: Dialogue, response: bytes) -> None:
    """Have no reply repeat a response: there are servers that do."""
    if response:
        dialogue.secrets += (encode_base64(response).decode("ascii"),)
