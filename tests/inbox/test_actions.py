"""Faults, release and verdicts, asked for over HTTP."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import smtpx
from smtpx.inbox.faults import MAX_FAULTS, FaultList, TooMany, fault_from, parse_fault
from smtpx.inbox.release import MAX_RECIPIENTS
from smtpx.testing.dns import DNSServer
from smtpx.testing.faults import Delay, Drop, Faults, Hold, Refusal
from smtpx.testing.mail_server import MailServer, MailServerOptions
from smtpx.testing.threads import run_in_thread
from tests.inbox.conftest import MAIL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.inbox.conftest import Running

# --------------------------------------------------------------------------- faults

STAGES = [
    ("connect", "127.0.0.1"),
    ("hello", "*"),
    ("start_tls", "*"),
    ("auth", "Ann"),
    ("mail", "ann@*"),
    ("rcpt", "bob@*"),
    ("start_data", "bob@*"),
    ("data", "bob@*"),
]


def post(running: Running, **fault: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    response = running.http.post("/api/v1/faults", json=fault)
    assert response.status_code == 201, response.text
    row: dict[str, Any] = response.json()
    return row


@pytest.mark.parametrize(("stage", "pattern"), STAGES)
def test_a_fault_at_each_stage(
    run: Callable[..., Running], stage: str, pattern: str
) -> None:
    running = run(auth=True, tls=stage == "start_tls")
    reply = "554 5.7.1 not today"
    row = post(running, stage=stage, pattern=pattern, reply=reply, times=1)
    post(running, stage=stage, pattern="nobody", drop=True)
    with pytest.raises(smtpx.SendError, match="not today"):
        running.send(auth=("ann", "x"))
    running.send(auth=("ann", "x"))
    first, second = running.get("/faults")["faults"]
    assert first == row | {"hits": 1}
    assert second["hits"] == 0
    assert running.get("/info")["messages"] == 1


def test_a_dropped_connection(run: Callable[..., Running]) -> None:
    running = run()
    post(running, stage="data", drop=True)
    with pytest.raises(smtpx.ConnectionLost):
        running.send()
    assert running.get("/info")["messages"] == 0


def test_a_delay_goes_before_what_else_happens(run: Callable[..., Running]) -> None:
    running = run()
    row = post(running, stage="mail", delay=0.001, reply="451 4.3.0 late")
    assert (row["delay"], row["reply"], row["drop"]) == (0.001, "451 4.3.0 late", False)
    with pytest.raises(smtpx.SendError, match="late"):
        running.send()
    running.http.delete(f"/api/v1/faults/{row['id']}").raise_for_status()
    post(running, stage="mail", delay=0.001)
    running.send()


def test_faults_are_removed(run: Callable[..., Running]) -> None:
    running = run(faults=(Refusal("mail", 451),))
    [given] = running.get("/faults")["faults"]
    assert given["reply"].startswith("451 ")
    second = post(running, stage="rcpt", reply="550")
    assert running.http.delete(f"/api/v1/faults/{given['id']}").json() == {"removed": 1}
    assert running.refused("DELETE", f"/faults/{given['id']}")[0] == 404
    assert [row["id"] for row in running.get("/faults")["faults"]] == [second["id"]]
    assert running.http.delete("/api/v1/faults").json() == {"removed": 1}
    running.send()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ({}, "there is no stage ''"),
        ({"stage": "ehlo", "reply": "451"}, "there is no stage 'ehlo'"),
        ({"stage": "mail"}, "needs a reply, drop, or a delay"),
        ({"stage": "mail", "reply": "250 2.0.0 fine"}, "is no refusal"),
        ({"stage": "mail", "reply": "451 4.3.0 a\r\nb"}, "is no refusal"),
        ({"stage": "mail", "reply": "451 5.3.0 a"}, "another class"),
        ({"stage": "mail", "reply": "451 " + "x" * 400}, "is no refusal"),
        ({"stage": "mail", "reply": "451", "drop": True}, "leave out reply"),
        ({"stage": "mail", "drop": 1}, "drop cannot be 1"),
        ({"stage": "mail", "drop": True, "times": 0}, "times cannot be 0"),
        ({"stage": "mail", "drop": True, "times": True}, "times cannot be True"),
        ({"stage": "mail", "drop": True, "probability": 0}, "over 0"),
        ({"stage": "mail", "drop": True, "probability": 1.1}, "over 0"),
        ({"stage": "mail", "delay": -1}, "a delay is over 0"),
        ({"stage": "mail", "delay": 3601}, "a delay is over 0"),
        ({"stage": "mail", "delay": True}, "delay cannot be True"),
        ({"stage": "mail", "drop": True, "pattern": ""}, "pattern cannot be ''"),
        ({"stage": "mail", "drop": True, "pattern": "x" * 321}, "pattern cannot be"),
        ({"stage": "mail", "drop": True, "when": 1}, "no 'when'"),
    ],
)
def test_what_is_no_fault(
    run: Callable[..., Running], fault: dict[str, object], why: str
) -> None:
    status, text = run().refused("POST", "/faults", json=fault)
    assert status == 400
    assert why in text


def test_the_largest_of_a_fault() -> None:
    fault = fault_from(
        {
            "stage": "mail",
            "pattern": "x" * 320,
            "reply": "451 " + "y" * 396,
            "delay": 3600,
            "times": 10**9,
            "probability": 1,
        }
    )
    assert isinstance(fault, Delay)
    with pytest.raises(ValueError, match="times cannot be"):
        fault_from({"stage": "mail", "drop": True, "times": 10**9 + 1})


def test_there_are_only_so_many_faults() -> None:
    faults = FaultList(Faults())
    for _ in range(MAX_FAULTS):
        faults.add(Drop("mail"))
    with pytest.raises(TooMany, match="remove some"):
        faults.add(Drop("mail"))


def test_too_many_faults_over_http(run: Callable[..., Running]) -> None:
    running = run(faults=tuple(Drop("mail") for _ in range(MAX_FAULTS)))
    status, _ = running.refused("POST", "/faults", json={"stage": "rcpt", "drop": True})
    assert status == 409


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "there is no stage ''"),
        ("rcpt", "needs a reply"),
        ("rcpt who=bob 451", "who= is none of pattern="),
        ("rcpt times=many 451", "times=many is no number"),
        ("rcpt delay=nan 451", "delay cannot be nan"),
        ("rcpt drop 451", "is no refusal"),
    ],
)
def test_what_is_no_fault_on_the_command_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        parse_fault(text)


def test_a_hold_is_told_as_one() -> None:
    faults = Faults()
    assert FaultList(faults).rows() == []
    faults.add(Hold("mail"))
    [row] = FaultList(faults).rows()
    assert row["hold"]


# -------------------------------------------------------------------------- release


@pytest.fixture
def server() -> Iterator[MailServer]:
    options = MailServerOptions(auth={"me": "secret"})
    with MailServer(options) as server:
        yield server


def with_password(server: MailServer) -> str:
    return server.url.replace("://", "://me:secret@")


def test_a_message_is_released(run: Callable[..., Running], server: MailServer) -> None:
    running = run(release_to=(with_password(server),))
    content = MAIL % (b"hi", b"hello")
    running.send(content)
    assert running.get("/info")["release"] == {"enabled": True, "servers": [server.url]}
    released = running.http.post(
        f"/api/v1/message/{running.only}/release",
        json={"to": ["eve@example.org"], "server": server.url},
    ).json()
    [result] = released["recipients"]
    assert (result["address"], result["accepted"]) == ("eve@example.org", True)
    mail = server.inbox.assert_sent(to="eve@example.org", sender="ann@example.com")
    assert (mail.user, mail.recipients) == ("me", ("eve@example.org",))
    assert mail.octets.endswith(content)
    assert b"id " + running.only.encode() in mail.octets
    assert "secret" not in repr(running.inbox.options)


@pytest.mark.parametrize(
    ("request_", "status", "why"),
    [
        ({"to": ["e@x.test"]}, 400, '"server"'),
        ({"to": ["e@x.test"], "server": 1}, 400, '"server"'),
        ({"server": "{url}"}, 400, '"to"'),
        ({"to": "e@x.test", "server": "{url}"}, 400, '"to"'),
        ({"to": [], "server": "{url}"}, 403, "name 1 to 100"),
        ({"to": ["e@x.test"] * 101, "server": "{url}"}, 403, "name 1 to 100"),
        ({"to": ["e"], "server": "{url}"}, 403, "is no address"),
        ({"to": ["e@x.test\r\nDATA"], "server": "{url}"}, 403, "is no address"),
        ({"to": ["e@x.test"], "server": "{url}/"}, 403, "not on the list"),
        ({"to": ["e@x.test"], "server": "{password}"}, 403, "not on the list"),
        ({"to": ["e@x.test"], "server": "smtp://127.0.0.1:25"}, 403, "not on the"),
        ({"to": ["e@y.test"], "server": "{url}"}, 403, "list of --release-only"),
        ({"to": ["e@x.test", "e@y.test"], "server": "{url}"}, 403, "--release-only"),
    ],
)
def test_nothing_is_released_off_the_list(
    run: Callable[..., Running],
    server: MailServer,
    request_: dict[str, Any],
    status: int,
    why: str,
) -> None:
    running = run(release_to=(with_password(server),), release_only=("*@x.test",))
    running.send()
    if "server" in request_ and isinstance(request_["server"], str):
        named = request_["server"].replace("{url}", server.url)
        request_["server"] = named.replace("{password}", with_password(server))
    path = f"/message/{running.only}/release"
    found, text = running.refused("POST", path, json=request_)
    assert (found, why in text) == (status, True), text
    assert "secret" not in text
    server.inbox.assert_not_sent()


def test_the_most_recipients_of_a_release(
    run: Callable[..., Running], server: MailServer
) -> None:
    running = run(release_to=(with_password(server),))
    running.send()
    names = [f"u{n}@x.test" for n in range(MAX_RECIPIENTS)]
    response = running.http.post(
        f"/api/v1/message/{running.only}/release",
        json={"to": names, "server": server.url},
    )
    assert len(response.json()["recipients"]) == MAX_RECIPIENTS


def test_without_a_list_nothing_is_released(
    run: Callable[..., Running], server: MailServer
) -> None:
    running = run()
    running.send()
    assert running.get("/info")["release"] == {"enabled": False, "servers": []}
    request = {"to": ["e@x.test"], "server": server.url}
    path = f"/message/{running.only}/release"
    assert running.refused("POST", path, json=request)[0] == 403
    server.inbox.assert_not_sent()


def test_the_next_server_refuses(
    run: Callable[..., Running], server: MailServer
) -> None:
    server.refuse("rcpt", 550, matching="nobody@*")
    running = run(release_to=(with_password(server),))
    running.send()
    path = f"/message/{running.only}/release"
    both = {"to": ["nobody@x.test", "e@x.test"], "server": server.url}
    found = running.http.post(f"/api/v1{path}", json=both).json()
    assert [one["accepted"] for one in found["recipients"]] == [False, True]
    status, text = running.refused("POST", path, json=both | {"to": ["nobody@x.test"]})
    assert (status, "550" in text) == (502, True)
    assert "secret" not in text


# ------------------------------------------------------------------------- verdicts


def test_verdicts_are_found_when_asked_for(run: Callable[..., Running]) -> None:
    zone = {
        "example.com": [("TXT", "v=spf1 ip4:127.0.0.1 -all")],
        "_dmarc.example.com": [("TXT", "v=DMARC1; p=reject")],
    }
    with run_in_thread(DNSServer(zone)) as dns:
        options = smtpx.ResolverOptions(nameservers=(dns.address,))
        running = run(resolver=smtpx.DNSRecordResolver(options))
        running.send()
        found = running.get(f"/message/{running.only}/verdicts")
    assert (found["spf"]["result"], found["dmarc"]["result"]) == ("pass", "pass")
    assert found["dmarc"]["policy"] == "reject"
    assert (found["dkim"], found["arc"]["result"]) == ([], "none")
    field = found["authentication_results"]
    assert field.startswith("Authentication-Results: inbox.localhost;")
    assert "spf=pass" in field
