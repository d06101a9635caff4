"""Checks of what a server says of itself, and of whom it knows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smtpx.probe.check import Check, Need, said
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
    from collections.abc import Iterator

    from smtpx.probe.bench import Bench

__all__ = ["CHECKS"]

# A number such as 4.96 or 2.3.19 beside a name.
_VERSION = re.compile(r"\d+\.\d+")

# Nobody's mailbox, in a server that does not take mail for everybody.
NOBODY: Final = "smtpx-probe-nobody"

# Addresses of others, written in all the ways that once fooled somebody. No message is
# sent.
RELAY_PATHS: Final = (
    "<probe@example.org>",
    "<@{host}:probe@example.org>",
    "<probe%example.org@{host}>",
    '<"probe@example.org"@{host}>',
    "<example.org!probe@{host}>",
)


def greeting(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.2: the greeting names the host and the protocol."""
    reply = bench.survey.greeting
    domain, _, rest = reply.lines[0].partition(" ")
    if "." not in domain and not domain.startswith("["):
        yield weak(
            f"the greeting names no host: {said(reply)}",
            "begin it with the server's fully qualified domain name",
        )
    elif not bench.target.is_lmtp and "ESMTP" not in rest.upper():
        yield weak(
            f"the greeting does not say ESMTP: {said(reply)}",
            "say ESMTP, or old clients do not try EHLO",
        )
    else:
        yield ok(said(reply))
    if _VERSION.search(rest):
        yield weak(
            "the greeting tells the version of the software",
            "leave it out: it is what attackers search for",
        )


def extensions(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.1.1.1: what EHLO tells."""
    survey = bench.survey
    if not survey.hello.is_positive:
        yield weak(
            f"{bench.verb} is refused: {said(survey.hello)}",
            f"{bench.verb} must work from anybody who may connect",
        )
        return
    where = "under TLS" if bench.is_implicit else "in clear"
    yield noted(f"{', '.join(survey.capabilities.lines()) or 'none'}", case=where)
    if survey.secure is not None and not bench.is_implicit:
        yield noted(f"{', '.join(survey.secure.lines()) or 'none'}", case="under TLS")


def helo(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.1.1.1: HELO must be supported too; RFC 2033: not by LMTP."""
    verb = "EHLO" if bench.target.is_lmtp else "HELO"
    with bench.greeted() as dialogue:
        reply = dialogue.ask(f"{verb} {bench.options.hello_name}")
    if bench.target.is_lmtp:
        if reply.is_positive:
            yield weak(
                f"an LMTP server takes EHLO: {said(reply)}",
                "refuse HELO and EHLO with 500: clients of SMTP do not expect a reply "
                "for each recipient",
            )
        else:
            yield ok(f"EHLO is refused: {said(reply)}")
    elif not reply.is_positive or len(reply.lines) > 1:
        yield weak(
            f"HELO is answered by: {said(reply)}",
            "answer HELO by one line with code 250",
        )
    else:
        yield ok(said(reply))


def enhanced_codes(bench: Bench) -> Iterator[Finding]:
    """RFC 2034 section 4: all 2xx, 4xx and 5xx replies have enhanced codes."""
    if "ENHANCEDSTATUSCODES" not in bench.survey.offered:
        yield not_offered("ENHANCEDSTATUSCODES")
        return
    without = []
    with bench.ready() as dialogue:
        for command in ("RSET", "NOOP", "XYZZY", "RCPT TO:<>", "MAIL FROM:<@>"):
            reply = dialogue.ask(command)
            if reply.enhanced is None:
                without.append(f"{command} ({reply.code})")
    if without:
        yield weak(
            f"no enhanced code in the replies to {', '.join(without)}",
            "begin the text of each reply with one",
        )
    else:
        yield ok("in the replies to five commands")


def size(bench: Bench) -> Iterator[Finding]:
    """RFC 1870 section 6: a size over the limit is refused when it is declared."""
    if "SIZE" not in bench.survey.offered:
        yield not_offered("SIZE: a client learns of the limit after sending all of it")
        return
    limit = bench.survey.offered.size
    if limit is None:
        yield weak(
            "SIZE tells no limit", "tell one: a message without end fills the disk"
        )
        return
    with bench.ready() as dialogue:
        reply = dialogue.ask(f"{bench.mail} SIZE={limit + 1}")
    if reply.is_positive:
        yield weak(
            f"SIZE={limit + 1} is taken though the limit is {limit}: {said(reply)}",
            "answer MAIL by 552: the client saves sending it",
        )
    elif reply.code in {552, 452}:
        yield ok(f"{limit:,} octets; one more: {said(reply)}")
    else:
        yield unclear(f"MAIL with a SIZE over the limit: {said(reply)}")


def verify(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 7.3: VRFY may be switched off, as it tells who exists."""
    known = bench.options.recipient or "postmaster"
    with bench.ready() as dialogue:
        there = dialogue.ask(f"VRFY {known}")
        not_there = dialogue.ask(f"VRFY {NOBODY}")
    if there.code in {250, 251} and not not_there.is_positive:
        yield weak(
            f"VRFY tells who exists: {said(there)}; of nobody: {said(not_there)}",
            "answer 252 to all: spammers collect addresses with it",
        )
    else:
        yield ok(f"VRFY tells nothing: {said(there)}")


def expand(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 7.3: the same of EXPN."""
    with bench.ready() as dialogue:
        reply = dialogue.ask("EXPN postmaster")
    if reply.code in {250, 251}:
        yield weak(
            f"EXPN tells the members of lists: {said(reply)}", "switch it off: 502"
        )
    else:
        yield ok(said(reply))


def null_path(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.5.5: reports of failures come from <>."""
    with bench.ready() as dialogue:
        reply = dialogue.ask("MAIL FROM:<>")
    if reply.is_positive:
        yield ok(said(reply))
    elif reply.code in {530, 550} and _asks_for_password(reply.text):
        yield left_out(f"MAIL needs authentication: {said(reply)}")
    else:
        yield weak(
            f"MAIL FROM:<> is refused: {said(reply)}",
            "accept it: users do not learn otherwise what became of their mail",
        )


def _asks_for_password(text: str) -> bool:
    return "auth" in text.lower()


def postmaster(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 4.5.1: every server has a postmaster."""
    with bench.ready() as dialogue:
        mail = dialogue.ask(bench.mail)
        if not mail.is_positive:
            yield left_out(f"MAIL is refused: {said(mail)}")
            return
        reply = dialogue.ask("RCPT TO:<postmaster>")
    if reply.is_positive:
        yield ok(said(reply))
    else:
        yield weak(
            f"RCPT TO:<postmaster> is refused: {said(reply)}",
            "accept it without a domain, in any case: others report trouble there",
        )


def relay(bench: Bench) -> Iterator[Finding]:
    """RFC 5321 section 3.6.2: a server need not relay, and must not for everybody."""
    host = bench.survey.greeting.lines[0].partition(" ")[0]
    taken = []
    reply = None
    for path in RELAY_PATHS:
        with bench.ready() as dialogue:
            mail = dialogue.ask("MAIL FROM:<probe@example.net>")
            if not mail.is_positive:
                yield left_out(f"MAIL is refused: {said(mail)}")
                return
            reply = dialogue.ask(f"RCPT TO:{path.format(host=host)}")
            if reply.is_positive:
                taken.append(path.format(host=host))
    if taken:
        yield unsafe(
            f"mail to others is taken: RCPT TO:{', '.join(taken)}",
            "accept recipients of your own domains alone, and others only from those "
            "who have authenticated; if this client is in a trusted network, ask from "
            "another",
        )
    else:
        yield ok(f"{len(RELAY_PATHS)} ways refused: {'' if not reply else said(reply)}")


CHECKS: Final = (
    Check("greeting", "The greeting", "RFC 5321 section 4.2", greeting),
    Check("extensions", "Extensions", "RFC 5321 section 4.1.1.1", extensions),
    Check("helo", "HELO", "RFC 5321 section 4.1.1.1", helo),
    Check("size", "SIZE", "RFC 1870 section 6", size),
    Check("enhanced-codes", "Enhanced codes", "RFC 2034 section 4", enhanced_codes),
    Check("null-path", "Null reverse path", "RFC 5321 section 4.5.5", null_path),
    Check("postmaster", "Postmaster", "RFC 5321 section 4.5.1", postmaster),
    Check("vrfy", "VRFY", "RFC 5321 section 7.3", verify),
    Check("expn", "EXPN", "RFC 5321 section 7.3", expand),
    Check("relay", "Open relay", "RFC 5321 section 3.6.2", relay, Need.LEAVE),
)
