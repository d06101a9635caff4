"""Who may use the page and the API, and what goes with every response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpx.inbox.requests import MAX_BODY_OCTETS
from smtpx.inbox.safety import SafetyMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2
    from starlette.types import Message

    from tests.inbox.conftest import Running

HOST = "127.0.0.1:8025"
JSON = {"content-type": "application/json"}


def ask(
    running: Running, method: str, path: str = "/api/v1/info", **headers: str
) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = b"{}" if "content-type" in named else None
    return running.http.request(method, path, headers=named, content=content)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1:8025", "192.0.2.7:1", "[::1]:8025", "[::1]"),
        *("localhost", "LOCALHOST:8025", "localhost.:8025", "app.localhost:1"),
        *("mail.test", "Mail.Test:9"),
    ],
)
def test_hosts_that_are_answered(run: Callable[..., Running], host: str) -> None:
    running = run(web_names=("mail.test",))
    assert ask(running, "GET", host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8025", "127.0.0.1.evil.example", "mail.test.x"),
        *("xlocalhost", "localhost.evil.example", "", "[::1", "127.0.0.1@evil", "2130"),
    ],
)
def test_hosts_of_dns_rebinding(run: Callable[..., Running], host: str) -> None:
    running = run(web_names=("mail.test",))
    for method, path in (("GET", "/api/v1/info"), ("GET", "/"), ("GET", "/nowhere")):
        refused = ask(running, method, path, host=host)
        assert refused.status_code == 421
        assert "--web-name" in refused.json()["error"]


@pytest.mark.parametrize("hosts", [[], [HOST, "evil.example"], [HOST, HOST]])
async def test_a_request_has_one_host(hosts: list[str]) -> None:
    async def answer(*_: object) -> None:
        raise AssertionError("the request went through")

    async def receive() -> Message:
        return {"type": "http.request"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", host.encode()) for host in hosts]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    await SafetyMiddleware(answer)(scope, receive, send)
    assert sent[0]["status"] == 421


CHANGES = [
    ("PUT", "/api/v1/messages"),
    ("DELETE", "/api/v1/messages"),
    ("DELETE", "/api/v1/message/1"),
    ("POST", "/api/v1/message/1/release"),
    ("POST", "/api/v1/faults"),
    ("DELETE", "/api/v1/faults"),
    ("DELETE", "/api/v1/faults/1"),
]


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://127.0.0.1:8025.evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": f"http://{HOST}", "sec_fetch_site": "cross-site"},
        {
            "sec_fetch_site": "cross-site",
            "sec_fetch_mode": "navigate",
            "sec_fetch_dest": "document",
        },
    ],
)
def test_other_sites_change_nothing(
    run: Callable[..., Running], method: str, path: str, headers: dict[str, str]
) -> None:
    refused = ask(run(), method, path, host=HOST, **JSON, **headers)
    assert refused.status_code == 403
    assert "another site" in refused.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": f"http://{HOST}"},
        {"origin": f"https://{HOST}", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
)
def test_the_page_and_programs_change_it(
    run: Callable[..., Running], headers: dict[str, str]
) -> None:
    running = run()
    running.send()
    changed = ask(running, "DELETE", "/api/v1/messages", host=HOST, **JSON, **headers)
    assert changed.json() == {"deleted": 1}


@pytest.mark.parametrize(("method", "path"), CHANGES)
@pytest.mark.parametrize(
    "kind",
    [
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"),
        *("text/plain; application/json", "application/jsonx", ""),
    ],
)
def test_what_a_form_could_send(
    run: Callable[..., Running], method: str, path: str, kind: str
) -> None:
    refused = run().http.request(
        method, path, headers={"content-type": kind}, content=b'{"read": true}'
    )
    assert refused.status_code == 415


def test_a_deletion_needs_no_body(run: Callable[..., Running]) -> None:
    running = run()
    assert running.http.delete("/api/v1/messages").json() == {"deleted": 0}
    assert running.http.post("/api/v1/faults").status_code == 415


@pytest.mark.parametrize("path", ["/api/v1/messages", "/api/v1/events", "/api/v1/info"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_read_nothing(
    run: Callable[..., Running], path: str, site: str
) -> None:
    running = run()
    navigation = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    for more in ({}, navigation):
        assert ask(running, "GET", path, sec_fetch_site=site, **more).status_code == 403


def test_a_link_may_open_the_page_but_no_frame(run: Callable[..., Running]) -> None:
    running = run()
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
    assert ask(running, "GET", "/", **link, sec_fetch_dest="iframe").status_code == 403
    assert ask(running, "GET", "/", **link).status_code == 403
    opened = ask(running, "GET", "/", **link, sec_fetch_dest="document")
    assert opened.status_code != 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/info", 200),
        ("/api/v1/message/none", 404),
        ("/nowhere", 404),
        ("/api/v1/messages?limit=x", 400),
    ],
)
def test_fields_of_every_response(
    run: Callable[..., Running], path: str, status: int
) -> None:
    response = run().http.get(path)
    assert response.status_code == status
    headers = response.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_a_fault_of_ours_tells_nothing_of_itself(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run()
    running.send()

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret path")

    monkeypatch.setattr(running.inbox.mailbox, "mark_read", fail)
    failed = running.http.put("/api/v1/messages", json={"read": True})
    assert failed.status_code == 500
    assert "secret" not in failed.text
    assert failed.headers["x-content-type-options"] == "nosniff"


# ------------------------------------------------------------------------ requests


def test_the_largest_request(run: Callable[..., Running]) -> None:
    running = run()

    def put(octets: int) -> httpx2.Response:
        content = b'{"read": true, "x": "'
        content += b"x" * (octets - len(content) - 2) + b'"}'
        return running.http.put("/api/v1/messages", headers=JSON, content=content)

    assert put(MAX_BODY_OCTETS).status_code == 200
    assert put(MAX_BODY_OCTETS + 1).status_code == 413


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "JSON object"),
        (b"{}", '"read" is true or false'),
        (b'{"read": 1}', '"read" is true or false'),
        (b'{"read": true, "ids": "x"}', "list of strings"),
        (b'{"read": true, "ids": [1]}', "list of strings"),
    ],
)
def test_requests_that_make_no_sense(
    run: Callable[..., Running], body: bytes, why: str
) -> None:
    status, text = run().refused("PUT", "/messages", headers=JSON, content=body)
    assert status == 400
    assert why in text


@pytest.mark.parametrize("value", ["-1", "x", "", "1.5", "9" * 19, "\u0661"])
def test_numbers_that_are_none(run: Callable[..., Running], value: str) -> None:
    status, text = run().refused("GET", "/messages", params={"start": value})
    assert (status, text) == (400, "start is a number from 0")


def test_the_most_rows(run: Callable[..., Running]) -> None:
    running = run()
    running.send()
    assert running.get("/messages", limit="9" * 18)["total"] == 1
    assert running.get("/messages", limit=0)["messages"] == []
