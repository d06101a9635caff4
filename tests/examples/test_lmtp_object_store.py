"""LMTP to an object store: what is acknowledged is there, for each recipient."""

from __future__ import annotations

import hashlib
import http.server
import json
import subprocess
import threading
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import smtpx
from tests.examples.programs import command, running, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "lmtp_object_store.py"
MESSAGE = b"Subject: hi\r\n\r\nHello.\r\n"
KEY = f"messages/{hashlib.sha256(MESSAGE).hexdigest()}"


def entries(folder: Path) -> dict[str, dict[str, str]]:
    found = sorted(folder.glob("mailboxes/**/*.json"))
    return {
        str(path.parent.relative_to(folder / "mailboxes")): json.loads(path.read_text())
        for path in found
    }


def test_in_a_folder(tmp_path: Path) -> None:
    store = tmp_path / "new" / "store"
    with running(NAME, store) as address:
        names = ("bob@example.net", '"../../x"@example.net', "Bob.B+x@EXAMPLE.net")
        result = send(address, MESSAGE, *names, scheme="lmtp")
        assert [str(one.reply) for one in result.accepted] == (
            [f"250 2.0.0 stored as {KEY}"] * 3
        )
        assert (store / KEY).read_bytes() == MESSAGE
        found = entries(store)
        assert found.keys() == {
            "example.net/bob",
            "example.net/%2E%2E%2F%2E%2E%2Fx",
            "example.net/bob.b%2Bx",
        }
        assert found["example.net/bob"]["message"] == KEY
        assert found["example.net/bob"]["sender"] == "ann@example.net"
        # Once more: one message, one more entry each.
        send(address, MESSAGE, "bob@example.net", sender="", scheme="lmtp")
    assert len(list(store.glob("messages/*"))) == 1
    assert len(list(store.glob("mailboxes/example.net/bob/*"))) == 2
    assert list(tmp_path.rglob(".*")) == []
    assert {path.name for path in tmp_path.iterdir()} == {"new"}


def test_one_recipient_fails_and_the_other_does_not(tmp_path: Path) -> None:
    (tmp_path / "mailboxes" / "example.net").mkdir(parents=True)
    # A file where a folder has to be.
    (tmp_path / "mailboxes" / "example.net" / "bob").write_text("")
    with running(NAME, tmp_path) as address:
        result = send(address, MESSAGE, "bob@example.net", "a@b.c", scheme="lmtp")
    codes = [one.reply and one.reply.code for one in result.recipients]
    assert codes == [451, 250]
    assert entries(tmp_path).keys() == {"b.c/a"}


def test_what_is_acknowledged_outlives_the_program(tmp_path: Path) -> None:
    """It is killed after each 250, so nothing that is done later can count."""
    listen = ("--listen", "127.0.0.1:0")
    for number in range(3):
        message = MESSAGE + b"%d\r\n" % number
        with subprocess.Popen(
            command(NAME, tmp_path, *listen), stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            try:
                address = process.stdout.readline().split()[-1]
                assert send(address, message, "bob@example.net", scheme="lmtp").accepted
            finally:
                process.kill()
        key = f"messages/{hashlib.sha256(message).hexdigest()}"
        assert (tmp_path / key).read_bytes() == message
    assert len(list(tmp_path.glob("mailboxes/example.net/bob/*.json"))) == 3


@contextmanager
def object_server(objects: dict[str, bytes], refused: set[str]) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:  # the name that http.server calls
            content = self.rfile.read(int(self.headers["Content-Length"]))
            key = urllib.parse.unquote(self.path)
            is_ours = self.headers["Authorization"] == "Bearer token-1"
            is_refused = not is_ours or any(one in key for one in refused)
            if not is_refused:
                objects[key] = content
            self.send_response(403 if is_refused else 201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/mail/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("token", ["token-1", ""])
def test_behind_http(token: str) -> None:
    objects: dict[str, bytes] = {}
    with (
        object_server(objects, {"/example.net/eve/"}) as url,
        running(NAME, url, environment={"OBJECT_TOKEN": token}) as address,
    ):
        if token:
            names = ("bob@example.net", "eve@example.net")
            result = send(address, MESSAGE, *names, scheme="lmtp")
            codes = [one.reply and one.reply.code for one in result.recipients]
            assert codes == [250, 451]
        else:
            with pytest.raises(smtpx.RecipientsRefused):
                send(address, MESSAGE, "bob@example.net", scheme="lmtp")
    if token:
        assert objects.pop(f"/mail/{KEY}") == MESSAGE
        ((key, entry),) = objects.items()
        assert key.startswith("/mail/mailboxes/example.net/bob/")
        assert json.loads(entry)["recipient"] == "bob@example.net"
    else:
        assert objects == {}
