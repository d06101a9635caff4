"""Checks of AUTH: what it refuses, and what somebody who has logged in may do."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from smtpx.errors import AuthenticationFailed
from smtpx.probe.check import Check, Need, said
from smtpx.probe.findings import (
    Finding,
    not_offered,
    noted,
    ok,
    unclear,
    unsafe,
    weak,
)
from smtpx.probe.login import choose_mechanisms
from smtpx.sasl.mechanism import Credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.probe.bench import Bench
    from smtpx.wire.replies import Reply

__all__ = ["CHECKS"]

# Nobody's account.
_NOBODY: Final = "smtpx-probe-nobody"

# RFC 6409 section 3.1, and RFC 8314 section 3.3: where users hand in their mail.
_SUBMISSION_PORTS: Final = frozenset({465, 587})

# RFC 4954 section 6: no such credentials.
_WRONG: Final = 535

# What is another in each reply of some servers: the time, or the id of a session.
_CHANGING = re.compile(r"\S*\d\S*")


def refusals(bench: Bench) -> Iterator[Finding]:
    """RFC 4954 section 4: what is no authentication is refused, and ends there."""
    offered = bench.survey.offered.auth_mechanisms
    if not offered:
        yield not_offered("AUTH")
        return
    name = "PLAIN" if "PLAIN" in offered else offered[0]
    cases = {
        "an unknown mechanism": ("AUTH XYZZY-1",),
        "no base64": (f"AUTH {name} (no-base64)",),
        "cancelled": (f"AUTH {name}", "*"),
    }
    for case, lines in cases.items():
        with bench.private() as dialogue:
            for line in lines:
                reply = dialogue.ask(line)
                if reply.is_permanent:
                    break
            if reply.is_intermediate:
                yield weak(
                    f"not refused: {said(reply)}", "answer by 501 or 504", case=case
                )
                continue
            rest = dialogue.fly(b"NOOP\r\n").replies
        if reply.is_positive:
            yield unsafe(
                f"taken for a login: {said(reply)}", "refuse it by 501", case=case
            )
        elif [one.code // 100 for one in rest] != [2]:
            yield unclear(f"{said(reply)}, and then no reply to NOOP", case=case)
        else:
            yield ok(said(reply), case=case)


def required(bench: Bench) -> Iterator[Finding]:
    """RFC 6409 section 4.3: who hands in mail has to log in."""
    if not bench.survey.offered.auth_mechanisms:
        yield not_offered("AUTH")
        return
    with bench.private() as dialogue:
        reply = dialogue.ask(bench.mail)
        if reply.is_positive and bench.options.recipient is not None:
            reply = dialogue.ask(bench.rcpt)
    if not reply.is_positive:
        wants_login = reply.code == 530 or "auth" in reply.text.lower()
        kind = ok if wants_login else noted
        yield kind(f"without a login: {said(reply)}")
    elif bench.target.port in _SUBMISSION_PORTS:
        yield weak(
            f"taken without a login on a port for submission: {said(reply)}",
            "refuse MAIL by 530 5.7.0 before AUTH",
        )
    else:
        yield noted(
            f"taken without a login, as it must be where other servers deliver: "
            f"{said(reply)}"
        )


def wrong_password(bench: Bench) -> Iterator[Finding]:
    """RFC 4954 section 6: 535, and the same for who exists and who does not."""
    auth = bench.auth
    stranger = _NOBODY + "@".join(auth.user.rpartition("@")[1:])
    password = secrets.token_urlsafe()
    replies = []
    for case, user in {"a wrong password": auth.user, "no such user": stranger}.items():
        with bench.private() as dialogue:
            reply = bench.log_in(dialogue, Credentials(user, password))
        replies.append(_comparable(reply, user))
        if reply.is_positive:
            yield unsafe(
                f"taken: {said(reply)}", "refuse it: anybody is anybody", case=case
            )
        elif reply.code == _WRONG:
            yield ok(said(reply), case=case)
        else:
            yield noted(f"refused, though not by 535: {said(reply)}", case=case)
    if replies[0] != replies[1]:
        yield weak(
            "the two replies differ: they tell who exists",
            "answer both by the same 535, after the same time",
        )


def _comparable(reply: Reply, user: str) -> tuple[int, str, str]:
    """Return what of a reply must be the same for all."""
    text = _CHANGING.sub("", reply.text.replace(user, ""))
    return reply.code, str(reply.enhanced), text


def each_mechanism(bench: Bench) -> Iterator[Finding]:
    """RFC 4954 section 4: what is offered can be used."""
    auth = bench.auth
    offered = bench.survey.offered.auth_mechanisms
    fitting = choose_mechanisms(offered, auth, is_private=bench.is_private)
    for name in fitting:
        try:
            with bench.private() as dialogue:
                reply = bench.log_in(dialogue, bench.credentials, name)
        except AuthenticationFailed as error:
            yield unclear(str(error), case=name)
            continue
        if reply.is_positive:
            yield ok(said(reply), case=name)
        else:
            yield weak(
                f"refuses the password that {bench.mechanism} takes: {said(reply)}",
                "do not offer it, or keep of passwords what it needs",
                case=name,
            )
    if others := [name for name in offered if name not in fitting]:
        yield noted(", ".join(others), case="not tried")


def again(bench: Bench) -> Iterator[Finding]:
    """RFC 4954 section 4: no second AUTH in a session."""
    with bench.ready() as dialogue:
        reply = dialogue.ask(f"AUTH {bench.mechanism}")
    if reply.is_positive or reply.is_intermediate:
        yield weak(
            f"taken after a login: {said(reply)}",
            "refuse it by 503: both ends may know the session by another name",
        )
    else:
        yield ok(said(reply))


def other_sender(bench: Bench) -> Iterator[Finding]:
    """RFC 6409 section 6.1: who may write in whose name."""
    domain = bench.auth.user.rpartition("@")[2]
    cases = {"another domain": "probe@example.org"}
    if "@" in bench.auth.user:
        cases["another of the domain"] = f"{_NOBODY}@{domain}"
    for case, sender in cases.items():
        with bench.ready() as dialogue:
            reply = dialogue.ask(f"MAIL FROM:<{sender}>")
            if reply.is_positive and bench.options.recipient is not None:
                reply = dialogue.ask(bench.rcpt)
        if reply.is_positive:
            yield noted(
                f"who has logged in may write as <{sender}>: {said(reply)}", case=case
            )
        else:
            yield ok(f"refused: {said(reply)}", case=case)


CHECKS: Final = (
    Check("auth-refusals", "What AUTH refuses", "RFC 4954 section 4", refusals),
    Check("auth-required", "Mail without a login", "RFC 6409 section 4.3", required),
    Check(
        "auth-wrong",
        "Wrong passwords",
        "RFC 4954 section 6",
        wrong_password,
        Need.LOGIN,
    ),
    Check(
        "auth-mechanisms",
        "Each mechanism",
        "RFC 4954 section 4",
        each_mechanism,
        Need.LOGIN,
    ),
    Check("auth-again", "AUTH twice", "RFC 4954 section 4", again, Need.LOGIN),
    Check(
        "auth-sender",
        "In whose name",
        "RFC 6409 section 6.1",
        other_sender,
        Need.LOGIN,
    ),
)
