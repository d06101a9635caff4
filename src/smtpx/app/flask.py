"""Mail for Flask.

::

    mail = Mail()                     # in the module of the extensions

    def create_app():
        app = Flask(__name__)
        app.config["MAIL_SERVER"] = "mail.example.com"
        mail.init_app(app)

    mail.send_message("Subject", recipients=["bob@example.com"], body="Hello")

The names in the configuration are those of Flask-Mail: MAIL_SERVER, MAIL_PORT,
MAIL_USERNAME, MAIL_PASSWORD, MAIL_USE_TLS, MAIL_USE_SSL, MAIL_DEFAULT_SENDER,
MAIL_SUPPRESS_SEND. Beyond these: MAIL_URL in place of server, port and TLS;
MAIL_TIMEOUT; MAIL_POOL_OPTIONS and MAIL_CLIENT_OPTIONS.
"""

from __future__ import annotations

import email.utils
from contextlib import contextmanager
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

from smtpx.app.backend import MailSettings, address_of, shared_pool
from smtpx.client.message_addresses import recipients_of, sender_of
from smtpx.client.options import DEFAULT_OPTIONS
from smtpx.client.pool_options import DEFAULT_POOL_OPTIONS
from smtpx.extras import extra

with extra("flask", "the extension for Flask"):
    from flask import current_app

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flask import Flask

    from smtpx.wire.envelope import SendResult

__all__ = ["Mail"]

_EXTENSION: Final = "smtpx"


class _State:
    """What an application has: its settings, and who listens."""

    def __init__(self, app: Flask) -> None:
        config = app.config
        sender = config.get("MAIL_DEFAULT_SENDER")
        # Flask-Mail takes a pair of name and address too.
        self.default_sender: str | None = (
            email.utils.formataddr(sender) if isinstance(sender, tuple) else sender
        )
        self.is_suppressed = bool(config.get("MAIL_SUPPRESS_SEND", app.testing))
        self.outboxes: list[list[EmailMessage]] = []
        self.settings = MailSettings(
            host=config.get("MAIL_SERVER") or "localhost",
            port=config.get("MAIL_PORT") or 25,
            user=config.get("MAIL_USERNAME") or "",
            password=config.get("MAIL_PASSWORD") or "",
            use_tls=bool(config.get("MAIL_USE_TLS")),
            use_ssl=bool(config.get("MAIL_USE_SSL")),
            timeout=config.get("MAIL_TIMEOUT"),
            url=config.get("MAIL_URL"),
            client_options=config.get("MAIL_CLIENT_OPTIONS") or DEFAULT_OPTIONS,
            pool_options=config.get("MAIL_POOL_OPTIONS") or DEFAULT_POOL_OPTIONS,
        )


class Mail:
    """The extension; one for any number of applications.

    Args:
        app: the application, or later by `init_app`.

    Raises:
        ValueError: the configuration wants both kinds of TLS.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Read the configuration of an application.

        Args:
            app: it. What is set in its configuration later is not seen.

        Raises:
            ValueError: it wants both kinds of TLS.
        """
        app.extensions[_EXTENSION] = _State(app)

    def send(self, message: EmailMessage) -> SendResult | None:
        """Send a message of the standard library over the pool of the application.

        Args:
            message: without a From field it gets MAIL_DEFAULT_SENDER; the message
                itself is changed then.

        Returns:
            What became of it; None if MAIL_SUPPRESS_SEND is set, as it is by default
            in tests.

        Raises:
            SendError: it could not be sent.
            ValueError: an address or header field is malformed, or there is no sender
                or no recipient.
        """
        state = _state()
        if "From" not in message and state.default_sender is not None:
            message["From"] = state.default_sender
        sender, recipients = sender_of(message), recipients_of(message)
        result = None
        if not state.is_suppressed:
            pool = shared_pool(state.settings)
            result = pool.send(message, sender=sender, recipients=recipients)
        for outbox in state.outboxes:
            outbox.append(message)
        return result

    def send_message(
        self,
        subject: str,
        *,
        recipients: Iterable[str],
        body: str = "",
        html: str | None = None,
        sender: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> SendResult | None:
        """Write a message and send it.

        Args:
            subject: of it.
            recipients: their addresses, with or without names.
            body: plain text.
            html: another form of it.
            sender: by default MAIL_DEFAULT_SENDER.
            headers: further fields, each with its value.

        Returns:
            As `send`.

        Raises:
            SendError: as `send`.
            ValueError: as `send`.
        """
        message = EmailMessage()
        message["Subject"] = subject
        if sender is not None:
            message["From"] = sender
        recipients = list(recipients)
        for recipient in recipients:
            address_of(recipient)
        message["To"] = ", ".join(recipients)
        message["Date"] = email.utils.localtime()
        domain = address_of(sender or _state().default_sender or "").rpartition("@")[2]
        message["Message-ID"] = email.utils.make_msgid(domain=domain)
        for name, value in headers:
            message[name] = value
        message.set_content(body)
        if html is not None:
            message.add_alternative(html, subtype="html")
        return self.send(message)

    @contextmanager
    def record_messages(self) -> Iterator[list[EmailMessage]]:
        """Collect what is sent meanwhile, for tests.

        Yields:
            The list, which grows.
        """
        outbox: list[EmailMessage] = []
        state = _state()
        state.outboxes.append(outbox)
        try:
            yield outbox
        finally:
            state.outboxes = [one for one in state.outboxes if one is not outbox]


def _state() -> _State:
    state: _State | None = current_app.extensions.get(_EXTENSION)
    if state is None:
        raise RuntimeError("call Mail.init_app(app) for this application first")
    return state
