"""Whatever is told a password shows it nowhere, least of all where something fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

import smtpx
from smtpx.app.relay import Relay
from smtpx.testing.mail_server import MailServerOptions

SECRET = "s3cr3tWord"

GOOD = f"smtp://u:{SECRET}@mx.test:25"
URLS = (
    GOOD,
    f"smtp://u:{SECRET}@mx.test:port",
    f"smtp://u:{SECRET}@:25",
    f"smtpx://u:{SECRET}@mx.test",
    f"smtp://u:{SECRET}@mx.test:99999",
    f"smtp://u:{SECRET}@[::1",
    f"smtp://u:{SECRET}@mx.test/path",
    f"smtp://u:{SECRET}%zz@mx.test",
    f"u:{SECRET}@mx.test",
    f"smtp://u:{SECRET}@mx.test?x=1",
    f"lmtp+unix://u:{SECRET}@/run/lmtp",
    f"smtp://u:{SECRET}\n@mx.test",
    f"smtp://u:{SECRET}@mx test",
    f"smtp://u:a/{SECRET}@mx.test",
    f"smtp://u:a#{SECRET}@mx.test",
    f"smtp://u:a?{SECRET}@mx.test",
    f"smtp://u:a@{SECRET}@mx.test",
    f"smtp+mx://u:{SECRET}@mx.test",
    f"smtp://u:{SECRET}@\u2100.test",
)


def shown_by(make: Callable[[], Any]) -> list[str]:
    """Return all that can be seen of what is made, or of why it is not."""
    try:
        made = make()
    except (ValueError, TypeError) as error:
        shown = traceback.format_exception(error)
        return [*shown, repr(error), repr(error.args), repr(vars(error))]
    return [repr(made), str(made), f"{made}"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "kind",
    [
        smtpx.Client,
        smtpx.AsyncClient,
        smtpx.LMTPClient,
        smtpx.BlockingClientPool,
        smtpx.ClientPool,
        Relay,
    ],
)
def test_urls(kind: Callable[[str], object], url: str) -> None:
    for text in shown_by(lambda: kind(url)):
        assert SECRET not in text


@pytest.mark.parametrize(
    "auth",
    [
        ("u", SECRET),
        ("u", SECRET, "x"),
        (SECRET,),
        ["u", SECRET],
        SECRET,
        {"u": SECRET},
        smtpx.Auth("u", SECRET),
        smtpx.Auth("u", token=SECRET),
    ],
    ids=lambda auth: type(auth).__name__,
)
@pytest.mark.parametrize(
    "kind", [smtpx.Client, smtpx.AsyncClient, smtpx.ClientPool, Relay]
)
def test_credentials(kind: Callable[..., object], auth: object) -> None:
    for text in shown_by(lambda: kind("smtp://mx.test", auth=auth)):
        assert SECRET not in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: smtpx.ClientOptions(proxy=f"socks5://u:{SECRET}@proxy.test"),
        lambda: smtpx.Auth("u", SECRET),
        lambda: smtpx.Auth("u", token=SECRET),
        lambda: MailServerOptions(auth={"u": SECRET}),
        lambda: smtpx.ServerOptions(auth_secret=SECRET.encode()),
    ],
)
def test_what_holds_one(make: Callable[[], object]) -> None:
    made = make()
    assert SECRET not in f"{made} {made!r}"


def test_a_connection_that_fails_does_not_show_it() -> None:
    url = f"smtp+plain://u:{SECRET}@127.0.0.1:1"
    with pytest.raises(smtpx.SendError) as caught:
        smtpx.Client(url).send(b"x", sender="a@a.test", recipients=["b@b.test"])
    for text in (*traceback.format_exception(caught.value), repr(caught.value)):
        assert SECRET not in text
