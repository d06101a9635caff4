"""The back end for Django, as Django's own tests of its SMTP back end have it."""

from __future__ import annotations

import email
import email.policy
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings

if not settings.configured:
    settings.configure(
        EMAIL_BACKEND="smtpx.app.django.EmailBackend", USE_TZ=True, USE_I18N=False
    )

from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.mail.message import BadHeaderError
from django.test.utils import override_settings
from django.utils.translation import gettext_lazy

import smtpx
from smtpx.app.backend import close_pools
from smtpx.app.django import EmailBackend
from tests.client.conftest import Inbox

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A server, to which the settings lead."""
    inbox = Inbox()
    with smtpx.Server(inbox).run_in_thread() as server:
        host, _, port = server.addresses[0].rpartition(":")
        with override_settings(EMAIL_HOST=host, EMAIL_PORT=int(port)):
            yield inbox
            close_pools()


def parsed(content: bytes) -> Any:  # noqa: ANN401
    return email.message_from_bytes(content, policy=email.policy.default)


def test_send_mail(inbox: Inbox) -> None:
    sent = mail.send_mail(
        "Hello", "the body\n", "Ann <ann@a.test>", ["bob@b.test"], html_message="<p>x"
    )
    assert sent == 1
    (received,) = inbox.received
    assert (received.sender, received.recipients) == ("ann@a.test", ["bob@b.test"])
    message = parsed(received.content)
    assert message["Subject"] == "Hello"
    assert message["From"] == "Ann <ann@a.test>"
    assert message.get_body(("plain",)).get_content().strip() == "the body"


def test_translated_texts_that_are_lazy(inbox: Inbox) -> None:
    """Django's own test of it; its addresses lack domains, which are not optional."""
    lazily = gettext_lazy
    message = EmailMessage(
        lazily("Hello"), lazily("x"), lazily("ann@a.test"), [lazily("bob@b.test")]
    )
    assert message.send() == 1
    assert inbox.received[0].recipients == ["bob@b.test"]
    with pytest.raises(smtpx.BadAddress, match="domain"):
        mail.send_mail("x", "x", "ann@a.test", ["root"])


def test_bcc_gets_it_and_nobody_sees(inbox: Inbox) -> None:
    message = EmailMultiAlternatives(
        "Grüße", "Grüße\n", "a@a.test", ["b@b.test"], bcc=["d@b.test"], cc=["c@b.test"]
    )
    message.attach("ö.bin", bytes(range(256)), "application/octet-stream")
    assert message.send() == 1
    (received,) = inbox.received
    assert received.recipients == ["b@b.test", "c@b.test", "d@b.test"]
    assert b"d@b.test" not in received.content
    found = parsed(received.content)
    assert found["Subject"] == "Grüße"
    (attachment,) = found.iter_attachments()
    assert attachment.get_content() == bytes(range(256))
    assert attachment.get_filename() == "ö.bin"


def test_many_messages_share_connections(inbox: Inbox) -> None:
    messages = [
        EmailMessage(f"{number}", "x", "a@a.test", ["b@b.test"]) for number in range(20)
    ]
    with mail.get_connection() as connection:
        assert connection.send_messages(messages) == 20
    assert mail.get_connection().send_messages(messages[:1]) == 1
    assert len(inbox.received) == 21
    assert inbox.connections == 1, "another back end finds the connection"


def test_threads_share_a_back_end(inbox: Inbox) -> None:
    connection = mail.get_connection()
    threads = [
        threading.Thread(
            target=connection.send_messages,
            args=([EmailMessage("x", "x", "a@a.test", ["b@b.test"])],),
        )
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inbox.received) == 20
    assert inbox.connections <= 10


def test_open_says_whether_it_was_new(inbox: Inbox) -> None:
    connection = EmailBackend()
    assert connection.open() is True
    assert connection.open() is False
    connection.close()
    assert connection.open() is True
    assert inbox.connections == 1


def test_nobody_to_send_to(inbox: Inbox) -> None:
    assert EmailBackend().send_messages([]) == 0
    assert EmailBackend().send_messages([EmailMessage("x", "x", "a@a.test")]) == 0
    assert inbox.connections == 0


def test_a_refused_recipient_is_told_and_the_others_get_it(inbox: Inbox) -> None:
    message = EmailMessage("x", "x", "a@a.test", ["refused@b.test", "b@b.test"])
    assert message.send() == 1
    message = EmailMessage("x", "x", "a@a.test", ["refused@b.test"])
    with pytest.raises(smtpx.RecipientsRefused):
        message.send()
    message = EmailMessage("x", "x", "a@a.test", ["refused@b.test"])
    assert message.send(fail_silently=True) == 0
    assert len(inbox.received) == 1


def test_no_server(inbox: Inbox) -> None:
    with override_settings(
        EMAIL_PORT=1, EMAIL_POOL_OPTIONS=smtpx.PoolOptions(attempts=1)
    ):
        message = EmailMessage("x", "x", "a@a.test", ["b@b.test"])
        with pytest.raises(smtpx.ConnectError):
            message.send()
        with pytest.raises(OSError, match="no connection"):
            EmailBackend().open()
        silent = EmailBackend(fail_silently=True)
        assert silent.open() is None
        assert silent.send_messages([message]) == 0


@pytest.mark.parametrize(
    "message",
    [
        EmailMessage("x", "x", "a@a.test\r\nBcc: v@x.test", ["b@b.test"]),
        EmailMessage("x", "x", "a@a.test", ["b@b.test>\r\nRCPT TO:<v@x.test"]),
        EmailMessage("x", "x", "a@a.test", ["b@b.test"], cc=["c@b.test\n"]),
        EmailMessage("x\nBcc: v@x.test", "x", "a@a.test", ["b@b.test"]),
    ],
)
def test_nothing_breaks_out(inbox: Inbox, message: EmailMessage) -> None:
    with pytest.raises((BadHeaderError, ValueError)):
        message.send()
    assert inbox.received == []


def test_a_line_that_begins_with_a_dot_or_from(inbox: Inbox) -> None:
    EmailMessage("x", ".\n..\nFrom me\n", "a@a.test", ["b@b.test"]).send()
    (received,) = inbox.received
    assert received.content.endswith(b"\r\n\r\n.\r\n..\r\nFrom me\r\n")


def test_settings_and_arguments() -> None:
    with override_settings(EMAIL_USE_TLS=True, EMAIL_HOST_USER="user"):
        assert EmailBackend()._settings.use_tls
        assert EmailBackend()._settings.user == "user"
        assert not EmailBackend(use_tls=False)._settings.use_tls
        assert EmailBackend(username="")._settings.user == ""
        with pytest.raises(ValueError, match="not both"):
            EmailBackend(use_ssl=True)
    with override_settings(EMAIL_TIMEOUT=5):
        assert EmailBackend()._settings.timeout == 5
        assert EmailBackend(timeout=6, unknown=1)._settings.timeout == 6


class NoSettings:
    """What Django has from 6.1 on where MAILERS is defined."""

    def __getattr__(self, name: str) -> object:
        message = f"The {name} setting is not available when MAILERS is defined."
        raise AttributeError(message)


def test_a_mailer_has_options_and_no_settings(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = settings.EMAIL_HOST, settings.EMAIL_PORT
    monkeypatch.setattr("smtpx.app.django.conf.settings", NoSettings())
    backend = EmailBackend(
        host, port, alias="news", pool_options=smtpx.PoolOptions(size=2)
    )
    message = EmailMessage("x", "x", "a@a.test", ["b@b.test"], connection=backend)
    monkeypatch.undo()  # of the message Django asks for the charset
    assert message.send() == 1
    assert [one.recipients for one in inbox.received] == [["b@b.test"]]
    assert backend._settings.pool_options.size == 2


def test_the_port_of_a_mailer_is_that_of_its_tls() -> None:
    def port(**options: Any) -> int:  # noqa: ANN401
        return EmailBackend("mx.test", alias="news", **options)._settings.port

    assert [port(), port(use_tls=True), port(use_ssl=True)] == [25, 587, 465]
    assert port(port=2525, use_tls=True) == 2525
    options = smtpx.ClientOptions(hello_name="shop.test")
    backend = EmailBackend("mx.test", alias="news", client_options=options)
    assert backend._settings.client_options is options


def test_a_mailer_needs_a_host() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"MAILERS\['news'\]: .* 'host'"):
        EmailBackend(alias="news")


def test_a_password_is_not_sent_in_clear_to_another_host() -> None:
    options = smtpx.ClientOptions(trust_loopback=False)
    with (
        smtpx.Server(Inbox()).run_in_thread() as server,
        override_settings(EMAIL_CLIENT_OPTIONS=options),
    ):
        host, _, port = server.addresses[0].rpartition(":")
        backend = EmailBackend(host, int(port), "user", "secret")
        message = EmailMessage("x", "x", "a@a.test", ["b@b.test"])
        with pytest.raises(smtpx.AuthenticationFailed, match="use TLS") as caught:
            backend.send_messages([message])
        assert "secret" not in str(caught.value)
        close_pools()
