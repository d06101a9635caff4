"""The e-mail back end for Django.

In the settings::

    EMAIL_BACKEND = "smtpx.app.django.EmailBackend"
    EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, ...     # as for Django's own
    EMAIL_POOL_OPTIONS = smtpx.PoolOptions(size=4)   # these two are optional
    EMAIL_CLIENT_OPTIONS = smtpx.ClientOptions(proxy="socks5://proxy.example.com")

or, from Django 6.1 on::

    MAILERS = {
        "default": {
            "BACKEND": "smtpx.app.django.EmailBackend",
            "OPTIONS": {"host": ..., "pool_options": smtpx.PoolOptions(size=4)},
        }
    }

It is Django's own SMTP back end in all that callers see, with these differences: the
connections are kept in a pool for the whole process; a password is not sent without
TLS to another host; and an address or header field that would break out is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from smtpx.app.backend import MailSettings, address_of, shared_pool
from smtpx.client.options import DEFAULT_OPTIONS
from smtpx.client.pool_options import DEFAULT_POOL_OPTIONS
from smtpx.errors import SendError
from smtpx.extras import extra

with extra("django", "the e-mail back end"):
    from django import conf
    from django.core.exceptions import ImproperlyConfigured
    from django.core.mail.backends.base import BaseEmailBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpx.client.blocking_pool import BlockingClientPool
    from smtpx.client.options import ClientOptions
    from smtpx.client.pool_options import PoolOptions

__all__ = ["EmailBackend"]


class EmailBackend(BaseEmailBackend):  # type: ignore[misc] # Django has no types
    """Sends mail over a pool of connections that the process shares.

    What is not given is taken from the settings, as Django's back end does; with an
    ``alias``, from nowhere: ``MAILERS`` is in place of those settings.

    Args:
        host: of the server.
        port: of TCP.
        username: for authentication; empty for none.
        password: likewise.
        use_tls: STARTTLS is required.
        fail_silently: failures to send raise nothing; the number that
            `send_messages` returns tells of them.
        use_ssl: TLS from the start.
        timeout: in seconds, for connecting and for each reply but the one to a message.
        ssl_keyfile: of the client's certificate.
        ssl_certfile: likewise.
        alias: of the mailer in ``MAILERS`` whose ``OPTIONS`` all others are.
        client_options: of the connections.
        pool_options: of the pool.
        **kwargs: left to Django, which passes them over or complains.

    Raises:
        ImproperlyConfigured: a mailer has no ``host``.
        ValueError: both ``use_tls`` and ``use_ssl`` are set.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Django's own signature
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        use_tls: bool | None = None,
        fail_silently: bool = False,
        use_ssl: bool | None = None,
        timeout: float | None = None,
        ssl_keyfile: str | None = None,
        ssl_certfile: str | None = None,
        *,
        alias: str | None = None,
        client_options: ClientOptions | None = None,
        pool_options: PoolOptions | None = None,
        **kwargs: object,
    ) -> None:
        if alias is not None:
            kwargs["alias"] = alias
        super().__init__(**kwargs)
        self.fail_silently = fail_silently
        self._is_open = False
        if alias is not None:
            if host is None:
                raise ImproperlyConfigured(f"MAILERS[{alias!r}]: OPTIONS need a 'host'")
            self._settings = MailSettings(
                host=host,
                port=port or (465 if use_ssl else 587 if use_tls else 25),
                user=username or "",
                password=password or "",
                use_tls=bool(use_tls),
                use_ssl=bool(use_ssl),
                timeout=timeout,
                certificate=ssl_certfile,
                key=ssl_keyfile,
                client_options=client_options or DEFAULT_OPTIONS,
                pool_options=pool_options or DEFAULT_POOL_OPTIONS,
            )
            return
        # No global name: who collects doctests asks each what it wraps, and settings
        # that are not configured raise.
        settings = conf.settings
        if client_options is None:
            client_options = getattr(settings, "EMAIL_CLIENT_OPTIONS", DEFAULT_OPTIONS)
        if pool_options is None:
            pool_options = getattr(settings, "EMAIL_POOL_OPTIONS", DEFAULT_POOL_OPTIONS)
        self._settings = MailSettings(
            host=host or settings.EMAIL_HOST,
            port=port or settings.EMAIL_PORT,
            user=settings.EMAIL_HOST_USER if username is None else username,
            password=settings.EMAIL_HOST_PASSWORD if password is None else password,
            use_tls=settings.EMAIL_USE_TLS if use_tls is None else use_tls,
            use_ssl=settings.EMAIL_USE_SSL if use_ssl is None else use_ssl,
            timeout=settings.EMAIL_TIMEOUT if timeout is None else timeout,
            certificate=(
                settings.EMAIL_SSL_CERTFILE if ssl_certfile is None else ssl_certfile
            ),
            key=settings.EMAIL_SSL_KEYFILE if ssl_keyfile is None else ssl_keyfile,
            client_options=client_options,
            pool_options=pool_options,
        )

    @property
    def pool(self) -> BlockingClientPool:
        """The pool of the process for the settings of this back end."""
        return shared_pool(self._settings)

    def open(self) -> bool | None:
        """Make sure that the server can be reached.

        Returns:
            True the first time, then False; None if it failed silently.

        Raises:
            SendError: it cannot.
        """
        if self._is_open:
            return False
        try:
            with self.pool.client():
                self._is_open = True
        except SendError:
            if not self.fail_silently:
                raise
            return None
        return True

    def close(self) -> None:
        """Be done; the connections stay in the pool for the next."""
        self._is_open = False

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        """Send messages, each over whichever connection is free.

        Args:
            email_messages: Django's. Those without recipients are passed over.

        Returns:
            How many were sent.

        Raises:
            SendError: one could not be sent, and it is not to fail silently; those
                before it were.
            BadAddress: an address of one is none.
        """
        pool = self.pool
        return sum(self._send(pool, message) for message in email_messages or ())

    def _send(self, pool: BlockingClientPool, message: Any) -> bool:  # noqa: ANN401
        recipients = [address_of(one) for one in message.recipients()]
        if not recipients:
            return False
        sender = address_of(message.from_email)
        try:
            pool.send(message.message(), sender=sender, recipients=recipients)
        except SendError:
            if not self.fail_silently:
                raise
            return False
        return True
