"""Tests of the mail that a web application sends, with the pytest plugin of smtpx.

    pip install smtpx[testing,flask]
    pytest examples/test_web_app.py

The application is small: people sign up, and confirm their address by a link in a mail.
Its mail goes over a real connection to a real server, on a free port, which refuses,
drops or hangs when a test wants that: what is tested is what runs in production.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

import pytest
from flask import Flask, request

import smtpx
from smtpx.app.flask import Mail

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from smtpx.testing.faults import Stage
    from smtpx.testing.mail_server import MailServer

# ------------------------------------------------------------------- the application

TEXT = """\
Welcome! Please confirm your address within a day:

{link}
"""


def create_app(**settings: object) -> Flask:
    """Make the application; in production the settings come from a file."""
    app = Flask(__name__)
    app.config.update(
        MAIL_DEFAULT_SENDER="The Shop <shop@example.com>",
        MAIL_SUPPRESS_SEND=False,  # or Flask's test mode would send nothing
        **settings,
    )
    mail = Mail(app)
    waiting: dict[str, str] = {}
    confirmed: set[str] = set()

    @app.post("/sign-up")
    def sign_up() -> tuple[str, int]:
        address = request.form["address"]
        token = secrets.token_urlsafe(16)
        link = f"{request.url_root}confirm/{token}"
        try:
            mail.send_message(
                "Confirm your address",
                recipients=[address],
                body=TEXT.format(link=link),
                html=f'<p>Welcome! Please <a href="{link}">confirm</a>.</p>',
            )
        except ValueError:
            return "That is no address.", 400
        except smtpx.SendError as error:
            if isinstance(error, smtpx.RecipientsRefused) and not error.is_temporary:
                return "Nobody takes mail there. Is it written right?", 400
            app.logger.warning("no mail: %s", error)
            return "We cannot send mail now. Please try again later.", 503
        waiting[token] = address
        return "Look into your mail.", 202

    @app.get("/confirm/<token>")
    def confirm(token: str) -> tuple[str, int]:
        address = waiting.pop(token, None)
        if address is None:
            return "That link is used up.", 404
        confirmed.add(address)
        return f"{address} is confirmed.", 200

    return app


# ------------------------------------------------------------------------- the tests


@pytest.fixture
def browser(mail_server: MailServer) -> FlaskClient:
    """Somebody at the web site."""
    return create_app(MAIL_URL=mail_server.url).test_client()


def sign_up(browser: FlaskClient, address: str = "bob@example.net") -> int:
    """Sign up; return the status."""
    return browser.post("/sign-up", data={"address": address}).status_code


def test_the_link_in_the_mail_works_once(
    browser: FlaskClient, mail_server: MailServer
) -> None:
    """The whole way, from the form to the link."""
    assert sign_up(browser) == 202
    mail = mail_server.inbox.assert_sent(
        to="bob@example.net",
        sender="shop@example.com",
        subject="Confirm your address",
        headers={"From": "The Shop <shop@example.com>"},
        html=re.compile(r'<a href="http://localhost/confirm/[\w-]+">'),
    )
    (link,) = re.findall(r"http://localhost(/confirm/\S+)", mail.message.text)
    assert link in mail.message.html
    assert browser.get(link).text == "bob@example.net is confirmed."
    assert browser.get(link).status_code == 404


def test_nobody_gets_the_mail_of_somebody_else(
    browser: FlaskClient, mail_server: MailServer
) -> None:
    """A line end in the form adds no recipient."""
    assert sign_up(browser, "bob@example.net\r\nBcc: eve@example.org") == 400
    assert sign_up(browser, "bob@example.net>\r\nRCPT TO:<eve@example.org") == 400
    assert len(mail_server.inbox) == 0


def test_an_address_that_is_refused(
    browser: FlaskClient, mail_server: MailServer
) -> None:
    """People mistype addresses."""
    mail_server.refuse("rcpt", 550, matching="bbo@*")
    assert sign_up(browser, "bbo@example.net") == 400
    assert sign_up(browser) == 202


@pytest.mark.parametrize("stage", ["mail", "rcpt", "start_data", "data"])
def test_a_mail_server_in_trouble(
    browser: FlaskClient, mail_server: MailServer, stage: Stage
) -> None:
    """Wherever it fails, people are told to try again; later it works."""
    mail_server.refuse(stage, 451)
    assert sign_up(browser) == 503
    mail_server.reset()
    assert sign_up(browser) == 202


def test_a_mail_server_that_vanishes(
    browser: FlaskClient, mail_server: MailServer
) -> None:
    """The connection breaks while the message is on its way."""
    mail_server.drop("data")
    assert sign_up(browser) == 503
    mail_server.inbox.assert_not_sent()


@pytest.mark.mail_server(tls=True, require_tls=True, auth={"shop": "secret"})
@pytest.mark.parametrize(("password", "status"), [("secret", 202), ("guess", 503)])
def test_password_and_tls(mail_server: MailServer, password: str, status: int) -> None:
    """As in production; the certificate is checked, and so must be known."""
    context = mail_server.certificates.client
    app = create_app(
        MAIL_URL=mail_server.url,
        MAIL_USERNAME="shop",
        MAIL_PASSWORD=password,
        MAIL_CLIENT_OPTIONS=smtpx.ClientOptions(tls_context=context),
    )
    assert sign_up(app.test_client()) == status
    sent = [(one.user, one.tls is not None) for one in mail_server.inbox]
    assert sent == [("shop", True)] * (status == 202)
