"""Checks of AUTH find each flaw, and a password is shown to nobody else."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING

import pytest

from smtpx.client.options import Auth, parse_url
from smtpx.errors import AuthenticationFailed
from smtpx.probe.accounts import CHECKS
from smtpx.probe.bench import Bench, ProbeOptions, Survey
from smtpx.probe.findings import Verdict
from smtpx.wire.capabilities import Capabilities
from smtpx.wire.replies import Reply
from tests.probe.conftest import TIMEOUT_SECONDS
from tests.probe.flawed_server import HOST, PASSWORD, USER, FlawedServer, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpx.probe.registry import Result

    Examine = Callable[..., Result]

OK, NOTED, WEAK, UNSAFE = Verdict.OK, Verdict.NOTED, Verdict.WEAK, Verdict.UNSAFE
OFFERS = ("PIPELINING", "AUTH PLAIN LOGIN XOAUTH2")


def make_options(password: str = PASSWORD, **changes: object) -> ProbeOptions:
    return ProbeOptions(
        recipient=USER,
        auth=Auth(USER, password),
        timeout=TIMEOUT_SECONDS,
        **changes,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("name", "flaw", "verdict"),
    [
        ("auth-refusals", "", OK),
        ("auth-refusals", "any mechanism", WEAK),
        ("auth-refusals", "asks again", WEAK),
        ("auth-refusals", "takes any login", UNSAFE),
        ("auth-refusals", "answers twice", Verdict.UNCLEAR),
        ("auth-required", "", NOTED),
        ("auth-required", "wants a login", OK),
        ("auth-wrong", "", OK),
        ("auth-wrong", "takes any login", UNSAFE),
        ("auth-wrong", "tells who exists", WEAK),
        ("auth-wrong", "other code", NOTED),
        ("auth-mechanisms", "", OK),
        ("auth-mechanisms", "LOGIN refuses", WEAK),
        ("auth-again", "", OK),
        ("auth-again", "AUTH twice", WEAK),
        ("auth-sender", "", NOTED),
        ("auth-sender", "minds senders", OK),
        # What needs a transaction has it only behind a login.
        ("smuggling", "wants a login", OK),
        ("text-lines", "wants a login", OK),
    ],
)
def test_accounts(name: str, flaw: str, verdict: Verdict, examine: Examine) -> None:
    kind = Kind(frozenset({flaw}), offers=OFFERS)
    assert examine(name, kind, make_options()).verdict is verdict


def test_without_a_login_nothing_is_delivered_there(examine: Examine) -> None:
    kind = Kind(frozenset({"wants a login"}), offers=OFFERS)
    result = examine(
        "smuggling", kind, ProbeOptions(recipient=USER, timeout=TIMEOUT_SECONDS)
    )
    assert result.verdict is Verdict.LEFT_OUT
    assert "530" in result.findings[0].text


def test_a_port_for_submission_wants_a_login() -> None:
    with FlawedServer(Kind(offers=OFFERS)) as server:
        bench = Bench(parse_url(f"smtp://{HOST}:{server.port}"), make_options())
        [check] = [one for one in CHECKS if one.name == "auth-required"]
        assert [one.verdict for one in check.examine(bench)] == [NOTED]
        # Known by its number alone; the connections go where they went.
        bench.target = parse_url(f"smtp+plain://{HOST}:587")
        bench.connect = Bench(  # type: ignore[method-assign]
            parse_url(f"smtp://{HOST}:{server.port}"), make_options()
        ).connect
        assert [one.verdict for one in check.examine(bench)] == [WEAK]


def test_what_was_not_tried_is_told(examine: Examine) -> None:
    result = examine("auth-mechanisms", Kind(offers=OFFERS), make_options())
    found = {one.case: one for one in result.findings}
    assert found["PLAIN"].verdict is found["LOGIN"].verdict is OK
    assert found["not tried"].text == "XOAUTH2"


@pytest.mark.parametrize("flaw", ["wants a login", "takes all without"])
def test_under_tls_where_there_is_any(
    flaw: str, examine: Examine, server_context: ssl.SSLContext
) -> None:
    said: list[str] = []
    kind = Kind(frozenset({flaw}), tls=server_context, offers=OFFERS)
    result = examine("smuggling", kind, make_options(log=said.append))
    assert result.verdict is OK
    logins = [place for place, line in enumerate(said) if line.startswith("C: AUTH")]
    assert logins
    # TLS comes right before, but for EHLO and its reply.
    for place in logins:
        before = said[: place + 1]
        ended = max(i for i, line in enumerate(before) if line == "== TLS ==")
        assert not any(line.startswith("S: 220 mx") for line in before[ended:])


def test_a_refused_login_ends_it_all(examine: Examine) -> None:
    said: list[str] = []
    kind = Kind(offers=OFFERS)
    with pytest.raises(AuthenticationFailed) as caught:
        examine("quit", kind, make_options("wrong", log=said.append))
    assert [name for name, _ in caught.value.attempts] == ["PLAIN"]
    assert sum(line.startswith("C: AUTH") for line in said) == 1


def test_no_mechanism_fits(examine: Examine) -> None:
    with pytest.raises(AuthenticationFailed, match=r"no mechanism fits.*XOAUTH2"):
        examine("quit", Kind(offers=("AUTH XOAUTH2",)), make_options())


@pytest.mark.parametrize("flaw", ["", "repeats the password", "repeats the response"])
def test_secrets_are_in_no_log_and_no_finding(flaw: str, examine: Examine) -> None:
    said: list[str] = []
    kind = Kind(frozenset({flaw}), offers=OFFERS)
    password = PASSWORD if not flaw else "repeated"
    options = make_options(password, log=said.append)
    response = base64.b64encode(f"\0{USER}\0{password}".encode()).decode()
    secret = {password, response, "AHVzZXJAZXhhbXBsZS5jb20A", "Y29ycmVjdCBob3JzZQ=="}
    shown = ""
    try:
        shown = str(examine("auth-mechanisms", kind, options))
    except AuthenticationFailed as error:
        shown = f"{error!r} {error} {error.attempts}"
    assert shown
    shown += "\n".join(said) + repr(options)
    assert "C: AUTH PLAIN ***" in said
    assert not any(one in shown for one in secret)


@pytest.mark.parametrize(
    ("is_local", "has_tls", "is_allowed", "is_private"),
    [
        (False, False, False, False),
        (True, False, False, True),
        (False, True, False, True),
        (False, False, True, True),
    ],
)
def test_who_may_see_a_password(
    is_local: bool, has_tls: bool, is_allowed: bool, is_private: bool
) -> None:
    bench = Bench(
        parse_url("mx.example"), make_options(allow_plaintext_auth=is_allowed)
    )
    offered = Capabilities.parse(["AUTH PLAIN"])
    bench.survey = Survey(
        Reply(220, None, "hi"),
        Reply(250, None, "hi"),
        offered,
        secure=offered if has_tls else None,
        is_local=is_local,
    )
    assert bench.is_private is is_private
    if not is_private:
        with pytest.raises(AuthenticationFailed, match="no TLS to show it a password"):
            _ = bench.mechanism


def test_a_token_is_no_password() -> None:
    with pytest.raises(ValueError, match="a password that is text"):
        ProbeOptions(auth=Auth("user", token="t"))
    with pytest.raises(ValueError, match="a password that is text"):
        ProbeOptions(auth=Auth("user", lambda: "secret"))


def test_nobody_to_log_in_as() -> None:
    with pytest.raises(ValueError, match="nobody to log in as"):
        _ = Bench(parse_url("mx.example"), ProbeOptions()).auth
