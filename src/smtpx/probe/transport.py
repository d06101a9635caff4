"""Checks of TLS and of authentication."""

from __future__ import annotations

import ssl
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

from smtpx.errors import BadReply, SMTPXError
from smtpx.net.tls import client_context
from smtpx.probe.check import Check, said
from smtpx.probe.findings import (
    Finding,
    left_out,
    not_offered,
    noted,
    ok,
    unclear,
    unsafe,
    weak,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpx.probe.bench import Bench

__all__ = ["CHECKS", "judge_mechanisms"]

_INJECTION: Final = "Commands behind STARTTLS"

_DAY: Final = 86_400
# Let's Encrypt renews thirty days before the end; who has come to ten has forgotten it.
_SOON_DAYS: Final = 10

# Mechanisms that show the password to whoever listens.
_REVEALING: Final = frozenset({"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"})

# Of the same: the listener has to guess, and computers guess fast.
_GUESSABLE: Final = frozenset({"CRAM-MD5", "DIGEST-MD5", "NTLM"})


def offers_tls(bench: Bench) -> Iterator[Finding]:
    """RFC 3207 section 4: which TLS there is."""
    survey = bench.survey
    if survey.tls_error:
        yield unsafe(
            f"STARTTLS is offered, and fails: {survey.tls_error}",
            "mend it: clients that can do without send in clear",
        )
    elif survey.tls is None:
        yield weak(
            "there is no TLS",
            "offer STARTTLS: everybody on the way reads mail that goes in clear",
        )
    else:
        tls = survey.tls
        yield ok(f"{tls.version}, {tls.cipher}, {tls.cipher_bits} bits")


def old_tls(bench: Bench) -> Iterator[Finding]:
    """RFC 8996: TLS 1.0 and 1.1 must not be used."""
    if bench.survey.tls is None:
        yield not_offered("TLS")
        return
    context = client_context(verify=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    # OpenSSL 3 has SHA-1, which those versions sign with, on its lowest level alone.
    context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        tls = _handshake(bench, context)
    except (OSError, SMTPXError):
        yield ok("TLS 1.0 and 1.1 are refused")
    else:
        yield weak(f"{tls} is taken", "set the lowest version to TLS 1.2")


def certificate(bench: Bench) -> Iterator[Finding]:
    """RFC 8314 section 4: what the certificate says, and who signed it."""
    if bench.survey.tls is None:
        yield not_offered("TLS")
        return
    if bench.name is None:
        yield left_out("a unix socket has no name: give --server-name")
        return
    context = bench.options.tls_context or client_context()
    if context.verify_mode is ssl.CERT_NONE:
        yield left_out("it is not checked, as --insecure says")
        return
    try:
        facts = _certificate_of(bench, context)
    except ssl.SSLCertVerificationError as error:
        yield weak(
            f"the certificate does not prove that this is {bench.name}: "
            f"{error.verify_message}",
            "get one for this name from an authority that clients trust; name your own "
            "authority with --ca-file",
        )
    except (OSError, SMTPXError) as error:
        yield unclear(f"the handshake fails when the certificate is checked: {error}")
    else:
        yield _expiry(facts)


def _certificate_of(bench: Bench, context: ssl.SSLContext) -> dict[str, Any]:
    """Return what `ssl` tells of the server's certificate.

    Raises:
        ssl.SSLCertVerificationError: it is not trusted.
        OSError: the handshake failed otherwise.
    """
    found: dict[str, Any] = {}

    class Witness(ssl.SSLObject):
        """Remembers what is known of the certificate."""

        def do_handshake(self) -> None:
            super().do_handshake()
            found.update(self.getpeercert() or {})

    former = context.sslobject_class
    context.sslobject_class = Witness
    try:
        _handshake(bench, context)
    finally:
        context.sslobject_class = former
    return found


def _expiry(facts: dict[str, Any]) -> Finding:
    """Tell how long a certificate that is trusted still is."""
    names = [value for _, value in facts.get("subjectAltName", ())]
    days = int((ssl.cert_time_to_seconds(facts["notAfter"]) - time.time()) // _DAY)
    text = f"trusted, for {', '.join(names)}; {days} days left"
    if days < _SOON_DAYS:
        return weak(text, "renew it")
    return ok(text)


def _handshake(bench: Bench, context: ssl.SSLContext) -> str:
    """Do a handshake on a connection of its own; return the version."""
    with bench.connect(context) as dialogue:
        if not bench.is_implicit:
            dialogue.reply()
            bench.hello(dialogue)
            dialogue.ask("STARTTLS")
            dialogue.start_tls(context, bench.name)
        return "" if dialogue.tls is None else dialogue.tls.version


def _without_starttls(bench: Bench) -> Finding | None:
    """Return why nothing about STARTTLS can be asked."""
    if bench.is_implicit:
        return not_offered("STARTTLS: TLS comes first here")
    if "STARTTLS" not in bench.survey.capabilities:
        return not_offered("STARTTLS")
    if bench.survey.secure is None:
        return left_out("STARTTLS fails")
    return None


def injection(bench: Bench) -> Iterator[Finding]:
    """RFC 3207 section 4.2: what came in clear is never run under TLS."""
    if (reason := _without_starttls(bench)) is not None:
        yield reason
        return
    advice = (
        "throw away what was read before the handshake, or close the connection "
        "(CVE-2011-0411, CVE-2021-38542)"
    )
    with bench.introduced() as dialogue:
        dialogue.send(b"STARTTLS\r\nNOOP\r\n")
        reply = dialogue.reply()
        if not reply.is_positive:
            yield ok(f"a command behind STARTTLS is refused: {said(reply)}")
            return
        try:
            dialogue.start_tls(bench.any_context, bench.name)
        except (OSError, BadReply) as error:
            yield _judge_handshake(error, advice)
            return
        flight = dialogue.fly(f"{bench.verb} {bench.options.hello_name}\r\n".encode())
    # One reply for EHLO; one more is for what came in clear.
    if len(flight.replies) > 1:
        yield unsafe(
            f"a command sent in clear was run under TLS (replies: {flight.codes})",
            advice,
        )
    elif flight.replies and not flight.is_silent:
        yield ok("a command behind STARTTLS is thrown away")
    else:
        yield ok("a command behind STARTTLS ends the connection")


def _judge_handshake(error: Exception, advice: str) -> Finding:
    """Judge a handshake that failed since a command stood before it."""
    # It depends on the time of arrival whether a reply in clear is found before the
    # handshake, or in it.
    is_answered = isinstance(error, BadReply) or (
        isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER"
    )
    if is_answered:
        return weak("a command behind STARTTLS is run in clear", advice)
    return ok("a command behind STARTTLS ends the connection")


def forgets(bench: Bench) -> Iterator[Finding]:
    """RFC 3207 section 4.2: after TLS, nothing from before is left."""
    if (reason := _without_starttls(bench)) is not None:
        yield reason
        return
    with bench.introduced() as dialogue:
        mail = dialogue.ask(bench.mail)
        if not mail.is_positive:
            yield left_out(f"there is no MAIL in clear: {said(mail)}")
            return
        starttls = dialogue.ask("STARTTLS")
        if not starttls.is_positive:
            yield ok(f"STARTTLS is refused within a transaction: {said(starttls)}")
            return
        dialogue.start_tls(bench.any_context, bench.name)
        reply = dialogue.ask("RCPT TO:<postmaster>")
    if reply.is_positive:
        yield unsafe(
            f"the transaction from before TLS goes on: RCPT is answered by "
            f"{said(reply)}",
            "forget it: whoever is on the way can have begun it",
        )
    else:
        yield ok(f"the transaction from before TLS is gone: {said(reply)}")


def repeated(bench: Bench) -> Iterator[Finding]:
    """RFC 3207 section 4.2: STARTTLS is not offered again."""
    secure = bench.survey.secure
    if secure is None:
        yield not_offered("TLS")
    elif "STARTTLS" in secure:
        yield weak(
            "STARTTLS is offered under TLS", "leave it out: clients would ask again"
        )
    else:
        yield ok("STARTTLS is not offered again")


def mechanisms(bench: Bench) -> Iterator[Finding]:
    """RFC 4954 section 4: no mechanism that shows a password without TLS."""
    survey = bench.survey
    plain = () if bench.is_implicit else survey.capabilities.auth_mechanisms
    secure = () if survey.secure is None else survey.secure.auth_mechanisms
    if not plain and not secure:
        yield not_offered("AUTH")
        return
    if secure:
        yield noted(", ".join(secure), case="under TLS")
    if not bench.is_implicit:
        yield judge_mechanisms(plain, is_local=survey.is_local)


def judge_mechanisms(offered: Sequence[str], *, is_local: bool) -> Finding:
    """Judge what is offered without TLS.

    Args:
        offered: names of mechanisms.
        is_local: the server is on this machine, where nobody is on the way.
    """
    revealing = _REVEALING.intersection(offered)
    guessable = _GUESSABLE.intersection(offered)
    names = ", ".join(sorted(revealing or guessable))
    case = "in clear"
    if (revealing or guessable) and is_local:
        return noted(
            f"{names} without TLS, to this machine: whether others are offered it too "
            "shows from another one only",
            case=case,
        )
    if revealing:
        return unsafe(
            f"{names} without TLS",
            "offer them under TLS only: anybody on the way reads the password",
            case=case,
        )
    if guessable:
        return weak(
            f"{names} without TLS",
            "offer it under TLS only: whoever reads it can guess the password",
            case=case,
        )
    return ok(", ".join(offered) or "no AUTH without TLS", case=case)


def unoffered_password(bench: Bench) -> Iterator[Finding]:
    """RFC 4954 section 4: AUTH PLAIN is refused in clear also if nobody offered it."""
    if bench.is_implicit:
        yield left_out("TLS comes first here")
        return
    if "PLAIN" in bench.survey.capabilities.auth_mechanisms:
        yield left_out("AUTH PLAIN is offered in clear, see above")
        return
    with bench.introduced() as dialogue:
        reply = dialogue.ask("AUTH PLAIN")
    if reply.is_intermediate:
        yield unsafe(
            f"AUTH PLAIN is taken in clear though it is not offered: {said(reply)}",
            "refuse it by 538 5.7.11",
        )
    else:
        yield ok(said(reply))


CHECKS: Final = (
    Check("tls", "TLS", "RFC 3207 section 4", offers_tls),
    Check("tls-old", "Old versions of TLS", "RFC 8996", old_tls),
    Check("certificate", "The certificate", "RFC 8314 section 4", certificate),
    Check("starttls-injection", _INJECTION, "RFC 3207 section 4.2", injection),
    Check("starttls-forgets", "State before TLS", "RFC 3207 section 4.2", forgets),
    Check("starttls-again", "STARTTLS again", "RFC 3207 section 4.2", repeated),
    Check("auth", "Authentication", "RFC 4954 section 4", mechanisms),
    Check(
        "auth-plaintext", "Passwords in clear", "RFC 4954 section 4", unoffered_password
    ),
)
