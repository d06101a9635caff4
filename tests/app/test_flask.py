"""The extension for Flask: configuration, sending, and what tests see."""

from __future__ import annotations

from email.message import EmailMessage
from typing import TYPE_CHECKING

import flask
import pytest

import smtpx
from smtpx.app.backend import close_pools
from smtpx.app.flask import Mail
from tests.client.conftest import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator

SENDER = "Shop <shop@a.test>"


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def app(inbox: Inbox) -> Iterator[flask.Flask]:
    with smtpx.Server(inbox).run_in_thread() as server:
        app = flask.Flask("shop")
        host, _, port = server.addresses[0].rpartition(":")
        app.config |= {
            "MAIL_SERVER": host,
            "MAIL_PORT": int(port),
            "MAIL_DEFAULT_SENDER": SENDER,
        }
        yield app
        close_pools()


def test_a_message_is_sent(app: flask.Flask, inbox: Inbox) -> None:
    mail = Mail(app)
    with app.app_context():
        result = mail.send_message(
            "Grüße",
            recipients=["Bob <bob@b.test>", "eve@b.test"],
            body="hello\n",
            html="<p>hello</p>",
            headers=[("X-Shop", "1")],
        )
    assert result is not None
    assert len(result.accepted) == 2
    (received,) = inbox.received
    assert received.sender == "shop@a.test"
    assert received.recipients == ["bob@b.test", "eve@b.test"]
    assert b"X-Shop: 1\r\n" in received.content
    assert b"Message-ID: <" in received.content
    assert b"@a.test>\r\n" in received.content


def test_requests_share_connections(app: flask.Flask, inbox: Inbox) -> None:
    mail = Mail()
    mail.init_app(app)

    @app.post("/order")
    def order() -> str:
        mail.send_message("order", recipients=["bob@b.test"])
        return "thanks"

    client = app.test_client()
    for _ in range(5):
        assert client.post("/order").text == "thanks"
    assert len(inbox.received) == 5
    assert inbox.connections == 1


def test_a_message_of_the_standard_library(app: flask.Flask, inbox: Inbox) -> None:
    mail = Mail(app)
    message = EmailMessage()
    message["From"] = "ann@a.test"
    message["To"] = "bob@b.test"
    message["Bcc"] = "carl@b.test"
    message.set_content("x")
    with app.app_context():
        mail.send(message)
    (received,) = inbox.received
    assert received.sender == "ann@a.test"
    assert received.recipients == ["bob@b.test", "carl@b.test"]
    assert b"carl" not in received.content


def test_in_tests_nothing_is_sent_and_all_is_recorded(
    app: flask.Flask, inbox: Inbox
) -> None:
    app.testing = True
    mail = Mail(app)
    with app.app_context():
        with mail.record_messages() as outbox, mail.record_messages() as other:
            assert mail.send_message("one", recipients=["bob@b.test"]) is None
        mail.send_message("two", recipients=["bob@b.test"])
    assert [message["Subject"] for message in outbox] == ["one"]
    assert [message["From"] for message in other] == [SENDER]
    assert inbox.received == []


def test_a_test_may_send(app: flask.Flask, inbox: Inbox) -> None:
    app.testing = True
    app.config["MAIL_SUPPRESS_SEND"] = False
    mail = Mail(app)
    with app.app_context(), mail.record_messages() as outbox:
        mail.send_message("one", recipients=["bob@b.test"])
    assert len(outbox) == len(inbox.received) == 1


def test_what_was_refused_is_not_recorded(app: flask.Flask) -> None:
    mail = Mail(app)
    with (
        app.app_context(),
        mail.record_messages() as outbox,
        pytest.raises(smtpx.RecipientsRefused),
    ):
        mail.send_message("one", recipients=["refused@b.test"])
    assert outbox == []


def test_a_pair_names_the_default_sender(app: flask.Flask, inbox: Inbox) -> None:
    app.config["MAIL_DEFAULT_SENDER"] = ("Shop, Inc.", "shop@a.test")
    mail = Mail(app)
    with app.app_context():
        mail.send_message("one", recipients=["bob@b.test"])
    assert b'From: "Shop, Inc." <shop@a.test>' in inbox.received[0].content


def test_a_url_in_place_of_server_and_port(app: flask.Flask, inbox: Inbox) -> None:
    config = app.config
    config["MAIL_URL"] = f"smtp://{config.pop('MAIL_SERVER')}:{config.pop('MAIL_PORT')}"
    mail = Mail(app)
    with app.app_context():
        mail.send_message("one", recipients=["bob@b.test"])
    assert len(inbox.received) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"recipients": ["bob@b.test\r\nBcc: v@x.test"]},
        {"recipients": ["nobody"]},
        {"recipients": []},
        {"recipients": ["bob@b.test"], "sender": "x\r\n@y"},
        {"recipients": ["bob@b.test"], "headers": [("X-A", "b\r\nBcc: v@x.test")]},
    ],
)
def test_nothing_breaks_out(
    app: flask.Flask, inbox: Inbox, wrong: dict[str, object]
) -> None:
    mail = Mail(app)
    with app.app_context(), pytest.raises(ValueError, match=r"."):
        mail.send_message("one", **wrong)  # type: ignore[arg-type]
    assert inbox.received == []


def test_no_sender(app: flask.Flask) -> None:
    del app.config["MAIL_DEFAULT_SENDER"]
    mail = Mail(app)
    with app.app_context(), pytest.raises(ValueError, match=r"."):
        mail.send_message("one", recipients=["bob@b.test"])


def test_what_was_forgotten_is_said() -> None:
    app = flask.Flask("shop")
    with app.app_context(), pytest.raises(RuntimeError, match="init_app"):
        Mail().send_message("one", recipients=["bob@b.test"])
    app.config |= {"MAIL_USE_TLS": True, "MAIL_USE_SSL": True}
    with pytest.raises(ValueError, match="not both"):
        Mail(app)
