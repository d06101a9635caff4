"""The content filter: what passes, what is refused, and what XFORWARD tells."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

import smtpx
from tests.examples.programs import run, running

NAME = "postfix_filter.py"
ORIGIN = smtpx.XForward(addr="192.0.2.7", helo="client.example", ident="4XkQ")


def message(name: str) -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "a@b.example", "c@d.example", "hi"
    made["X-Content-Filter"] = "clean"
    made.set_content("Hello.")
    made.add_attachment(b"MZ", "application", "octet-stream", filename=name)
    return made.as_bytes().replace(b"\n", b"\r\n")


class Inner(smtpx.Session):
    """What Postfix is in earnest: it takes the mail back."""

    received: list[tuple[bytes, smtpx.XForward | None]] = []  # noqa: RUF012 - emptied

    async def data(self, body: smtpx.Body) -> smtpx.Reply:
        content = await body.read()
        self.received.append((content, self.connection.forwarded))
        return smtpx.Reply(250, "2.0.0", "Ok: queued as 5YlR")


@pytest.mark.parametrize("marks", [False, True])
def test_between_two_servers(marks: bool) -> None:
    Inner.received.clear()
    options = smtpx.ServerOptions(xforward_networks=("127.0.0.0/8",))
    with (
        smtpx.Server(Inner, options=options).run_in_thread() as inner,
        running(NAME, "--to", inner.addresses[0], *["--mark-only"] * marks) as address,
        smtpx.Client(f"smtp+plain://{address}") as client,
    ):
        client.xforward(ORIGIN)
        envelope = {"sender": "a@b.example", "recipients": ["c@d.example"]}
        clean = client.send(message("a.txt"), **envelope)  # type: ignore[arg-type]
        assert clean.queue_id == "5YlR"
        client.xforward(ORIGIN)
        if marks:
            client.send(message("A.EXE"), **envelope)  # type: ignore[arg-type]
        else:
            with pytest.raises(smtpx.DataRefused, match="refused by content"):
                client.send(message("A.EXE"), **envelope)  # type: ignore[arg-type]
        # The session goes on, with a new connection behind it.
        client.send(message("b.txt"), **envelope)  # type: ignore[arg-type]
    verdicts = [content.partition(b"\r\n")[0] for content, _ in Inner.received]
    expected = [b"clean", b"suspect", b"clean"] if marks else [b"clean", b"clean"]
    assert verdicts == [b"X-Content-Filter: " + one for one in expected]
    for content, forwarded in Inner.received[:-1]:
        assert b"\r\nReceived: from " in content
        assert content.partition(b"\r\nFrom: ")[2].startswith(b"a@b.example\r\n")
        assert forwarded is not None
        assert (forwarded.addr, forwarded.helo) == ("192.0.2.7", "client.example")
        assert forwarded.ident == "4XkQ"


def test_no_postfix_there() -> None:
    code, _, errors = run(NAME, "--to", "127.0.0.1:1")
    assert code == 75
    assert "127.0.0.1:1" in errors
    assert "Traceback" not in errors
