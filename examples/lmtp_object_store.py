r"""LMTP to an object store: each message is an object, each mailbox has a list of them.

    python examples/lmtp_object_store.py --listen unix:/run/store.sock /srv/mail
    python examples/lmtp_object_store.py --listen 127.0.0.1:2400 \
        https://objects.example.com/mail

The store is a folder, or anything that takes ``PUT <url>/<key>`` and answers 2xx when
the object is durable (with OBJECT_TOKEN, each request has ``Authorization: Bearer``).
In Postfix: ``virtual_transport = lmtp:unix:/run/store.sock``.

A message is stored once, as ``messages/<SHA-256>``; then each recipient gets an entry,
``mailboxes/<domain>/<local part>/<time>-<id>.json``, and its own 250 when that is
durable. What fails for one recipient is 451 for that one alone: the client sends it
again, and the object that is there already is the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import secrets
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import smtpx


class Store(Protocol):
    """Where objects are put."""

    def put(self, key: str, content: bytes) -> None:
        """Store an object durably, in place of one that is there; or raise OSError."""


class FolderStore:
    """Objects as files. A name appears when its content is on the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, content: bytes) -> None:
        """Store an object."""
        path = self._folder / key
        if path.exists() and key.startswith("messages/"):
            return self._flush(path.parent)  # named by its content, so it is the same
        for folder in reversed([one for one in path.parents if not one.exists()]):
            folder.mkdir(mode=0o700, exist_ok=True)
            self._flush(folder.parent)
        temporary = path.with_name(f".{path.name[:32]}.{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return self._flush(path.parent)  # which the new name is a part of

    def _flush(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class HTTPStore:
    """Objects behind HTTP PUT."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/octet-stream"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def put(self, key: str, content: bytes) -> None:
        """Store an object."""
        url = f"{self._url}/{urllib.parse.quote(key)}"
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            url, data=content, headers=self._headers, method="PUT"
        )
        try:
            with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - likewise
                pass
        except urllib.error.HTTPError as error:
            with error:
                raise OSError(f"{url}: {error.code} {error.reason}") from None


def entry_key(mailbox: smtpx.Mailbox) -> str:
    """Name a new entry of a mailbox; whatever the address is, it is no path."""
    user = mailbox.local_part_unquoted.lower()
    names = [
        urllib.parse.quote(one, "") for one in (mailbox.domain_ascii.lower(), user)
    ]
    folder = "/".join(
        one.replace(".", "%2E") if one[0] == "." else one for one in names
    )
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%f")
    return f"mailboxes/{folder}/{when}-{secrets.token_hex(4)}.json"


def make_app(store: Store) -> smtpx.App:
    """Make what takes the messages."""
    app = smtpx.App(server=smtpx.ServerOptions(lmtp=True, smtputf8=True))

    # The handler is called for each recipient by itself, as both names are its own. It
    # is a plain function, so it runs in a thread.
    @app.on_message("{user}@{domain}")
    def deliver(mail: smtpx.Mail) -> smtpx.Reply:
        key = f"messages/{hashlib.sha256(mail.octets).hexdigest()}"
        try:
            store.put(key, mail.octets)
            for recipient in mail.recipients:
                entry = {
                    "message": key,
                    "sender": str(mail.reverse_path or ""),
                    "recipient": str(recipient.mailbox),
                    "session": mail.connection.id,
                }
                store.put(entry_key(recipient.mailbox), json.dumps(entry).encode())
        except OSError as error:
            logging.warning("%s: %s", mail.connection.id, error)
            raise smtpx.Refuse(451, "4.3.0", "the store cannot take it now") from error
        return smtpx.Reply(250, "2.0.0", f"stored as {key}")

    return app


def main() -> None:
    """Read the command line, and serve until a signal."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store", help="a folder, or a URL")
    parser.add_argument("--listen", default="127.0.0.1:2400", help="or unix:/path")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    store: Store = FolderStore(Path(options.store).absolute())
    if options.store.startswith(("https://", "http://")):
        store = HTTPStore(options.store, os.environ.get("OBJECT_TOKEN", ""))
    app = make_app(store)
    app.on_ready(lambda server: print("listening on", *server.addresses, flush=True))
    app.run(options.listen)


if __name__ == "__main__":
    main()
