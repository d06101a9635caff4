"""AUTH: which mechanism, and the exchange (RFC 4954).

A mechanism that shows the password to whoever reads along is used under TLS only, or
over a channel that never leaves this host. What a server says it wants does not count
(CVE-2017-15042).
"""

from __future__ import annotations

import inspect
import secrets
from typing import TYPE_CHECKING, Final

from smtpx.client.link import SourceError
from smtpx.errors import AuthenticationFailed, BadSyntax, NotSupported, SASLError
from smtpx.net.binding import client_bindings
from smtpx.net.channel import ip_of
from smtpx.sasl.mechanism import ClientContext, Credentials, Proof
from smtpx.sasl.registry import CLIENT_MECHANISMS
from smtpx.wire import commands
from smtpx.wire.octets import decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpx.client.link import Link
    from smtpx.client.options import Auth, ClientOptions, Secret
    from smtpx.sasl.mechanism import ClientMechanism
    from smtpx.wire.replies import Reply

__all__ = ["authenticate", "is_private"]

# RFC 4954 section 6: the mechanism is not known, or not with these parameters; another
# one may be. After any other refusal it is the credentials that are wrong.
_TRY_NEXT = frozenset({504, 534})

# 144 bits, in 24 characters of base64.
_NONCE_OCTETS: Final = 18


def is_private(link: Link, options: ClientOptions) -> bool:
    """Say whether nobody on the path can read along."""
    channel = link.channel
    if channel.tls is not None:
        return True
    # Who is at the other end of a proxy's connection, its address does not tell.
    if not options.trust_loopback or options.proxy is not None:
        return False
    ip = ip_of(channel.peer)
    return channel.peer.startswith("unix:") if ip is None else ip.is_loopback


async def authenticate(link: Link, auth: Auth, options: ClientOptions) -> Reply:
    """Authenticate with the best mechanism that both ends have.

    Returns:
        The reply that says so.

    Raises:
        NotSupported: the server offers no AUTH.
        AuthenticationFailed: no mechanism fits, or none was accepted; `attempts` has
            what each got.
    """
    wanted = _wanted(auth, options)
    names = _choose(link, wanted, options)
    secret = await _ask(auth.password if auth.token is None else auth.token)
    credentials = Credentials(auth.user, secret, auth.authorize_as)
    contexts = {name: _context(link, name, wanted) for name in names}
    link.machine.secrets = (secret,) if secret else ()
    try:
        return await _try_each(link, contexts, credentials)
    finally:
        link.machine.secrets = ()


async def _try_each(
    link: Link, contexts: Mapping[str, ClientContext], credentials: Credentials
) -> Reply:
    """Try mechanisms by name until one is accepted, or the credentials are refused."""
    attempts: list[tuple[str, Reply]] = []
    reason = f"authentication as {credentials.user!r} failed"
    for name, context in contexts.items():
        mechanism = CLIENT_MECHANISMS[name](credentials, context)
        try:
            initial_response = mechanism.start()
        except SASLError as error:
            # Nothing was sent yet, and the next mechanism may take what this one, such
            # as SCRAM with its rules for characters, does not.
            reason = f"{reason}: {error}"
            continue
        reply = await _exchange(link, mechanism, initial_response, attempts)
        if reply.is_positive:
            return reply
        attempts.append((name, reply))
        if reply.code not in _TRY_NEXT:
            break
    raise AuthenticationFailed(reason, attempts=attempts, phase="command")


def _choose(link: Link, wanted: list[str], options: ClientOptions) -> list[str]:
    """Return the mechanisms to try, in order."""
    offered = link.machine.capabilities.auth_mechanisms
    if not offered:
        raise NotSupported(_why_no_auth(link), command="AUTH", phase="command")
    common = [name for name in wanted if name in offered]
    if not common:
        raise AuthenticationFailed(
            f"the server offers {', '.join(offered)}, none of {', '.join(wanted)}",
            phase="command",
        )
    if is_private(link, options) or options.allow_plaintext_auth:
        return common
    safe = [name for name in common if not CLIENT_MECHANISMS[name].shows_password]
    if not safe:
        raise AuthenticationFailed(
            f"{', '.join(common)} would show the password to anybody on the path: use "
            "TLS, or say allow_plaintext_auth",
            phase="command",
        )
    return safe


def _why_no_auth(link: Link) -> str:
    if link.channel.tls is not None:
        return "the server offers no AUTH"
    if "STARTTLS" in link.machine.capabilities:
        return (
            "the server offers no AUTH in plaintext, but STARTTLS: turn to TLS first, "
            "as with smtp+starttls://"
        )
    return (
        "the server offers no AUTH in plaintext, nor STARTTLS: it may under TLS, on "
        "the port for smtps://"
    )


def _wanted(auth: Auth, options: ClientOptions) -> list[str]:
    """Return the mechanisms to try, in order, whatever the server offers.

    A token goes to no mechanism that would take it for a password. A password is also
    a token, where mechanisms for tokens are named.
    """
    named = auth.mechanisms or options.mechanisms
    order = [name.upper() for name in named or CLIENT_MECHANISMS]
    if unknown := [name for name in order if name not in CLIENT_MECHANISMS]:
        raise ValueError(f"no such mechanism here: {', '.join(unknown)}")
    if auth.token is not None:
        proof = Proof.TOKEN
    elif named:
        return order
    else:
        proof = Proof.PASSWORD if auth.password != "" else Proof.CHANNEL
    return [
        name
        for name in order
        if CLIENT_MECHANISMS[name].proof is proof
        and (named or CLIENT_MECHANISMS[name].is_default)
    ]


def _context(link: Link, name: str, wanted: list[str]) -> ClientContext:
    """Give a mechanism what it cannot have of itself."""
    tls = link.channel.tls
    bindings = client_bindings(tls)
    bound = f"{name}-PLUS"
    offered = link.machine.capabilities.auth_mechanisms
    port = link.channel.peer.rpartition(":")[2]
    return ClientContext(
        nonce=secrets.token_urlsafe(_NONCE_OCTETS).encode("ascii"),
        host="" if tls is None else tls.server_hostname or "",
        port=int(port) if port.isdecimal() else 0,
        channel_bindings=bindings,
        misses_binding=bool(bindings) and bound in wanted and bound not in offered,
    )


async def _ask(secret: Secret) -> str:
    """Return the password; a function is asked anew at each connect."""
    if isinstance(secret, str):
        return secret
    try:
        answer = secret()
        return await answer if inspect.isawaitable(answer) else answer
    except Exception as error:
        raise SourceError from error


async def _exchange(
    link: Link,
    mechanism: ClientMechanism,
    initial_response: bytes | None,
    attempts: list[tuple[str, Reply]],
) -> Reply:
    """Run one exchange to its end.

    Raises:
        AuthenticationFailed: the server broke the mechanism's rules.
    """
    _hide(link, mechanism, initial_response)
    reply = await link.ask(commands.Auth(mechanism.name, initial_response))
    while reply.is_intermediate:
        try:
            response: bytes | None = mechanism.respond(
                decode_base64(reply.text.encode("utf-8", "surrogateescape"))
            )
        except (SASLError, BadSyntax) as error:
            # RFC 4954 section 4: a client cancels with a lone asterisk.
            reply = await _respond(link, None)
            attempts.append((mechanism.name, reply))
            raise AuthenticationFailed(
                f"{mechanism.name} broken off: {error}",
                attempts=attempts,
                phase="command",
            ) from None
        _hide(link, mechanism, response)
        reply = await _respond(link, response)
    if reply.is_positive:
        try:
            mechanism.succeed(None)
        except SASLError as error:
            attempts.append((mechanism.name, reply))
            raise AuthenticationFailed(
                f"the server is not to be trusted: {error}",
                attempts=attempts,
                phase="command",
            ) from None
    return reply


def _hide(link: Link, mechanism: ClientMechanism, response: bytes | None) -> None:
    """Have no reply repeat a response that shows the password."""
    if mechanism.shows_password and response:
        link.machine.secrets += (encode_base64(response).decode("ascii"),)


async def _respond(link: Link, response: bytes | None) -> Reply:
    link.machine.send_response(response)
    await link.flush()
    return await link.next_reply("command")
