"""Each check finds the flaw that it is for, and nothing in a server without it."""

from __future__ import annotations

import dataclasses
import datetime
import ssl
import warnings
from typing import TYPE_CHECKING

import pytest
import trustme

from smtpx.errors import GreetingRefused
from smtpx.probe.bench import ProbeOptions
from smtpx.probe.findings import Verdict
from smtpx.probe.messages import SMUGGLERS
from smtpx.probe.registry import CHECKS
from smtpx.probe.transport import judge_mechanisms
from smtpx.wire.octets import escape_octets
from tests.false_ends import FALSE_ENDS
from tests.probe.conftest import RECIPIENT, TIMEOUT_SECONDS
from tests.probe.flawed_server import HOST, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.probe.registry import Result

    Examine = Callable[..., Result]

OK, NOTED, WEAK, UNSAFE = Verdict.OK, Verdict.NOTED, Verdict.WEAK, Verdict.UNSAFE

# What a server without flaws gets, where it is not "ok".
EXPECTED = {
    "extensions": NOTED,
    "tls": WEAK,  # it has none
    "tls-old": Verdict.NOT_OFFERED,
    "certificate": Verdict.NOT_OFFERED,
    "starttls-injection": Verdict.NOT_OFFERED,
    "starttls-forgets": Verdict.NOT_OFFERED,
    "starttls-again": Verdict.NOT_OFFERED,
    "auth": Verdict.NOT_OFFERED,
    "auth-refusals": Verdict.NOT_OFFERED,
    "auth-required": Verdict.NOT_OFFERED,
    "auth-wrong": Verdict.LEFT_OUT,
    "auth-mechanisms": Verdict.LEFT_OUT,
    "auth-again": Verdict.LEFT_OUT,
    "auth-sender": Verdict.LEFT_OUT,
    "early-talk": NOTED,
    "lmtp-replies": Verdict.LEFT_OUT,
}


@pytest.mark.parametrize("name", [check.name for check in CHECKS])
def test_a_server_without_flaws(name: str, examine: Examine) -> None:
    result = examine(name, Kind())
    assert result.verdict is EXPECTED.get(name, OK), result.findings


# Check, flaw, and what it makes of it.
FLAWS = [
    ("greeting", "greets without a host", WEAK),
    ("greeting", "greets without ESMTP", WEAK),
    ("greeting", "greets with a version", WEAK),
    ("extensions", "refuses EHLO", WEAK),
    ("helo", "HELO of two lines", WEAK),
    ("size", "ignores SIZE", WEAK),
    ("enhanced-codes", "no enhanced codes", WEAK),
    ("null-path", "refuses <>", WEAK),
    ("postmaster", "no postmaster", WEAK),
    ("vrfy", "VRFY tells", WEAK),
    ("expn", "EXPN tells", WEAK),
    ("relay", "relays", UNSAFE),
    ("auth-plaintext", "AUTH unoffered", UNSAFE),
    ("order", "any order", WEAK),
    ("order", "takes unknown", WEAK),
    ("controls", "takes controls", WEAK),
    ("controls", "takes 8-bit", WEAK),
    ("controls", "CR ends a command", WEAK),
    ("line-ends", "LF ends a command", WEAK),
    ("line-ends", "CR ends a command", WEAK),
    ("line-length", "short lines", WEAK),
    ("line-length", "reads in pieces", WEAK),
    ("pipelining", "forgets the flight", WEAK),
    ("held-back", "forgets the flight", WEAK),
    ("http", "HTTP", WEAK),
    ("early-talk", "minds early talk", OK),
    ("quit", "QUIT 250", WEAK),
    ("recipients", "few recipients", WEAK),
    ("smuggling", "takes bare ends", WEAK),
    ("text-lines", "no long text", WEAK),
    ("text-lines", "ends at a long line", UNSAFE),
    ("bdat-refused", "chunk is run", UNSAFE),
    ("bdat-refused", "chunk for nobody", WEAK),
    ("bdat-sizes", "takes any size", WEAK),
    ("bdat-then-data", "DATA after BDAT", WEAK),
    ("bdat-content", "chunk ends at a dot", UNSAFE),
]


@pytest.mark.parametrize(("name", "flaw", "verdict"), FLAWS)
def test_flaw_is_found(
    name: str, flaw: str, verdict: Verdict, examine: Examine
) -> None:
    result = examine(name, Kind(frozenset({flaw})))
    assert result.verdict is verdict, result.findings


# Each waits for replies that do not come.
@pytest.mark.parametrize(
    ("name", "flaw", "verdict"),
    [
        ("smuggling", "never answers", Verdict.UNCLEAR),
        ("bdat-sizes", "waits for chunks", WEAK),
        ("held-back", "waits", WEAK),
        ("quit", "stays after QUIT", WEAK),
        ("bdat-content", "silent LAST", WEAK),
    ],
)
def test_silence_is_found(
    name: str, flaw: str, verdict: Verdict, examine: Examine
) -> None:
    # On a busy machine who is only slow seems silent: to whom waits longer, less so.
    for timeout in (0.2, 2.0, 20.0):
        options = ProbeOptions(recipient=RECIPIENT, timeout=timeout)
        found = examine(name, Kind(frozenset({flaw})), options).verdict
        if found is verdict:
            break
    assert found is verdict


@pytest.mark.parametrize("end", SMUGGLERS, ids=escape_octets)
def test_smuggling_by_each_end(end: bytes, examine: Examine) -> None:
    kind = Kind(frozenset({"any order", "takes bare ends"}), ends=(end,))
    result = examine("smuggling", kind)
    [found] = [one for one in result.findings if one.case == escape_octets(end)]
    assert found.verdict is UNSAFE, found


def test_an_end_whose_tail_is_refused_is_weak(examine: Examine) -> None:
    kind = Kind(frozenset({"suspicious"}), ends=(b"\n.\n",))
    verdicts = {one.case: one.verdict for one in examine("smuggling", kind).findings}
    assert verdicts[r"\n.\n"] is WEAK
    assert verdicts[r"\r.\r"] is OK


def test_data_for_nobody(examine: Examine) -> None:
    careful = examine("data-for-nobody", Kind(frozenset({"DATA for nobody"})))
    assert careful.verdict is OK
    flaws = frozenset({"DATA for nobody", "accepts for nobody"})
    assert examine("data-for-nobody", Kind(flaws)).verdict is WEAK


@pytest.mark.parametrize(
    ("name", "offers", "verdict"),
    [
        ("size", ("SIZE",), WEAK),
        ("size", (), Verdict.NOT_OFFERED),
        ("enhanced-codes", (), Verdict.NOT_OFFERED),
        ("pipelining", (), Verdict.NOT_OFFERED),
        ("held-back", (), Verdict.NOT_OFFERED),
        ("data-for-nobody", (), OK),
        ("bdat-refused", (), Verdict.NOT_OFFERED),
        ("bdat-sizes", (), Verdict.NOT_OFFERED),
        ("bdat-then-data", (), Verdict.NOT_OFFERED),
        ("bdat-content", (), Verdict.NOT_OFFERED),
        ("recipients", ("LIMITS RCPTMAX=10",), OK),
    ],
)
def test_what_is_offered(
    name: str, offers: tuple[str, ...], verdict: Verdict, examine: Examine
) -> None:
    assert examine(name, Kind(offers=offers)).verdict is verdict


# ------------------------------------------------------------------------------- TLS


@pytest.mark.parametrize(
    ("name", "flaw", "verdict"),
    [
        ("tls", "", OK),
        ("tls", "no handshake", UNSAFE),
        ("tls-old", "", OK),
        ("certificate", "", OK),
        ("starttls-injection", "", OK),
        ("starttls-injection", "keeps what was in clear", UNSAFE),
        ("starttls-injection", "answers in clear", WEAK),
        ("starttls-injection", "refuses what follows", OK),
        ("starttls-injection", "closes on what follows", OK),
        ("starttls-injection", "no handshake", Verdict.LEFT_OUT),
        ("starttls-forgets", "", OK),
        ("starttls-forgets", "keeps the transaction", UNSAFE),
        ("starttls-again", "", OK),
        ("starttls-again", "STARTTLS again", WEAK),
        ("smuggling", "wants TLS", OK),
        ("starttls-forgets", "wants TLS", Verdict.LEFT_OUT),
    ],
)
def test_tls(
    name: str,
    flaw: str,
    verdict: Verdict,
    examine: Examine,
    server_context: ssl.SSLContext,
) -> None:
    result = examine(name, Kind(frozenset({flaw}), tls=server_context))
    assert result.verdict is verdict, result.findings


def test_old_versions_of_tls(examine: Examine, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    result = examine("tls-old", Kind(tls=context))
    assert result.verdict is WEAK, result.findings


def test_a_certificate_of_somebody_else(
    examine: Examine, client_context: ssl.SSLContext, authority: trustme.CA
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("other.example").configure_cert(context)
    result = examine("certificate", Kind(tls=context))
    assert result.verdict is WEAK
    assert "mismatch" in result.findings[0].text


def test_a_certificate_near_its_end(
    examine: Examine, client_context: ssl.SSLContext, authority: trustme.CA
) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(HOST, not_after=soon).configure_cert(context)
    result = examine("certificate", Kind(tls=context))
    assert result.verdict is WEAK
    assert result.findings[0].advice == "renew it"


def test_a_context_is_left_as_it_was(
    examine: Examine, client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    examine("certificate", Kind(tls=server_context))
    assert client_context.sslobject_class is ssl.SSLObject


@pytest.mark.parametrize(
    ("offered", "is_local", "verdict"),
    [
        (("PLAIN", "LOGIN"), False, UNSAFE),
        (("SCRAM-SHA-256", "XOAUTH2"), False, UNSAFE),
        (("CRAM-MD5",), False, WEAK),
        (("SCRAM-SHA-256",), False, OK),
        ((), False, OK),
        (("PLAIN",), True, NOTED),
        ((), True, OK),
    ],
)
def test_mechanisms_in_clear(
    offered: tuple[str, ...], is_local: bool, verdict: Verdict
) -> None:
    assert judge_mechanisms(offered, is_local=is_local).verdict is verdict


def test_mechanisms_of_a_server(examine: Examine) -> None:
    result = examine("auth", Kind(offers=("AUTH PLAIN",)))
    assert result.verdict is NOTED  # it is on this machine


# ------------------------------------------------------------------------------ LMTP


@pytest.mark.parametrize(
    ("name", "flaw", "verdict"),
    [
        ("lmtp-replies", "", OK),
        ("lmtp-replies", "one reply for all", UNSAFE),
        ("helo", "", OK),
        ("helo", "EHLO in LMTP", WEAK),
        ("smuggling", "", OK),
    ],
)
def test_lmtp(name: str, flaw: str, verdict: Verdict, examine: Examine) -> None:
    result = examine(name, Kind(frozenset({flaw}), is_lmtp=True))
    assert result.verdict is verdict, result.findings


# --------------------------------------------------------------------- what is not said


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_nothing_is_delivered_nor_relayed_unasked(
    check: object, examine: Examine
) -> None:
    # Whoever takes everything would get something.
    said: list[str] = []
    kind = Kind(
        frozenset({"any order", "relays", "DATA for nobody", "chunk for nobody"})
    )
    options = ProbeOptions(timeout=TIMEOUT_SECONDS, log=said.append)
    name = getattr(check, "name", "")
    examine(name, kind, options)
    rcpt = [line for line in said if "RCPT TO:" in line and line.startswith("C:")]
    allowed = ("<postmaster>", "<@>", "<>")
    assert all(any(one in line for one in allowed) for line in rcpt), rcpt
    assert not any("Subject:" in line for line in said)


def test_a_server_that_refuses_is_told_as_such(examine: Examine) -> None:
    with pytest.raises(GreetingRefused):
        examine("greeting", Kind(frozenset({"refuses"})))


@pytest.mark.parametrize(
    "options",
    [
        {"recipient": "a@b>\r\nRCPT TO:<c@d"},
        {"recipient": "nobody at all"},
        {"sender": "a@b> SIZE=1 <c@d"},
        {"hello_name": "x\r\nMAIL FROM:<a@b>"},
    ],
)
def test_nothing_is_injected(options: dict[str, str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - one of several
        ProbeOptions(**options)  # type: ignore[arg-type]


def test_every_verdict_has_a_rank() -> None:
    assert sorted(Verdict, key=lambda one: one.rank)[-1] is UNSAFE
    assert len({one.rank for one in Verdict}) == len(Verdict)


def test_every_check_says_what_it_is() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert all(dataclasses.astuple(check)[:3]), check


def test_probe_tries_all_that_was_ever_taken_for_an_end() -> None:
    assert set(SMUGGLERS) == set(FALSE_ENDS)
