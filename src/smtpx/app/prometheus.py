"""The events of a server as metrics for Prometheus (extra ``prometheus``).

The cardinality of every label is bounded: codes, verbs and mechanisms of which a server
has a fixed number; never an address, a name or a text that a client chose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from smtpx.server.events import (
    AbortedEvent,
    AuthEvent,
    ClosedEvent,
    CommandEvent,
    ConnectedEvent,
    ErrorEvent,
    HelloEvent,
    MailEvent,
    MessageEvent,
    RcptEvent,
    RefusedEvent,
    ServerEvent,
    TLSEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

    from smtpx.wire.replies import Reply

__all__ = ["PrometheusEvents"]

# From a message that a machine wrote to the default limit of 50 MiB, by powers of four.
_OCTETS: Final = tuple(1024 * 4**power for power in range(9))

# From a local sink to the ten minutes that a client waits (RFC 5321 section 4.5.3.2.6).
_SECONDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)


class PrometheusEvents:
    """Counts the events of one server or several; ``ServerOptions(events=...)``.

    Args:
        registry: by default that of `prometheus_client`. One object fits into a
            registry once: give the same to all servers of a process.
        namespace: how the names of all metrics begin.

    Raises:
        ImportError: ``prometheus-client`` is not installed.
        ValueError: the registry has metrics of these names.

    >>> import smtpx
    >>> from prometheus_client import CollectorRegistry
    >>> registry = CollectorRegistry()
    >>> options = smtpx.ServerOptions(events=smtpx.PrometheusEvents(registry))
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, namespace: str = "smtpx"
    ) -> None:
        try:
            from prometheus_client import (  # noqa: PLC0415 - an extra
                REGISTRY,
                Counter,
                Gauge,
                Histogram,
            )
        except ImportError as error:
            message = (
                "metrics for Prometheus need the package prometheus-client: "
                "pip install 'smtpx[prometheus]'"
            )
            raise ImportError(message) from error
        where: dict[str, Any] = {
            "namespace": namespace,
            "registry": REGISTRY if registry is None else registry,
        }
        # Sessions of servers that take LMTP too, of which nobody knows what they are.
        self._undecided: set[str] = set()
        self._opened = Counter("sessions", "Sessions begun", ["protocol"], **where)
        self._active = Gauge("sessions_active", "Sessions there are now", **where)
        self._closed = Counter(
            "sessions_ended",
            "Sessions ended: as clients wish, or not",
            ["end"],
            **where,
        )
        self._session_seconds = Histogram(
            "session_duration_seconds",
            "How long sessions last",
            buckets=_SECONDS,
            **where,
        )
        self._octets = Counter(
            "transferred_bytes", "Octets of sessions that ended", ["direction"], **where
        )
        self._tls = Counter("tls_sessions", "Sessions under TLS", ["version"], **where)
        self._auth = Counter(
            "auth_attempts", "AUTH exchanges", ["mechanism", "result"], **where
        )
        self._replies = Counter(
            "replies", "Answers to commands", ["command", "code"], **where
        )
        self._messages = Counter("messages", "Messages", ["result"], **where)
        self._recipients = Counter(
            "message_recipients", "Recipients of whole messages", ["result"], **where
        )
        self._message_octets = Histogram(
            "message_size_bytes", "Size of whole messages", buckets=_OCTETS, **where
        )
        self._message_seconds = Histogram(
            "message_duration_seconds",
            "From DATA to the answer to a whole message",
            buckets=_SECONDS,
            **where,
        )
        self._errors = Counter("errors", "Faults of hooks", ["hook"], **where)

    def __call__(self, event: ServerEvent) -> None:
        """Count an event.

        Args:
            event: of any session of any server.
        """
        _COUNTERS[type(event)](self, event)

    def _count_reply(self, command: str, reply: Reply) -> None:
        self._replies.labels(command, str(reply.code)).inc()

    def _count_connected(self, event: ConnectedEvent) -> None:
        if event.takes_lmtp_too:
            self._undecided.add(event.session)
        else:
            self._opened.labels("lmtp" if event.is_lmtp else "smtp").inc()
        self._active.inc()

    def _count_tls(self, event: TLSEvent) -> None:
        self._tls.labels(event.tls.version).inc()

    def _count_hello(self, event: HelloEvent) -> None:
        if event.reply.is_positive:
            self._decide(event.session, "lmtp" if event.verb == "LHLO" else "smtp")
        self._count_reply(event.verb, event.reply)

    def _decide(self, session: str, protocol: str) -> None:
        """Count a session that might have been either, if it is not counted yet."""
        if session in self._undecided:
            self._undecided.remove(session)
            self._opened.labels(protocol).inc()

    def _count_auth(self, event: AuthEvent) -> None:
        result = "success" if event.reply.is_positive else "failure"
        self._auth.labels(event.mechanism, result).inc()
        self._count_reply("AUTH", event.reply)

    def _count_mail(self, event: MailEvent) -> None:
        self._count_reply("MAIL", event.reply)

    def _count_rcpt(self, event: RcptEvent) -> None:
        self._count_reply("RCPT", event.reply)

    def _count_message(self, event: MessageEvent) -> None:
        self._messages.labels(_result(is_accepted=event.is_accepted)).inc()
        for result in event.recipients:
            label = _result(is_accepted=result.is_accepted)
            self._recipients.labels(label).inc()
        self._message_octets.observe(event.octets)
        self._message_seconds.observe(event.duration)
        self._count_reply("DATA", event.reply)

    def _count_aborted(self, _event: AbortedEvent) -> None:
        self._messages.labels("aborted").inc()

    def _count_command(self, event: CommandEvent) -> None:
        # A verb gets here only if it is registered, so there are not many.
        if event.reply is not None:
            self._count_reply(event.verb, event.reply)

    def _count_refused(self, event: RefusedEvent) -> None:
        self._count_reply(event.verb, event.reply)

    def _count_error(self, event: ErrorEvent) -> None:
        self._errors.labels(event.hook).inc()

    def _count_closed(self, event: ClosedEvent) -> None:
        # It never said what it is, and was greeted as SMTP.
        self._decide(event.session, "smtp")
        self._active.dec()
        self._closed.labels("clean" if event.is_clean else "broken").inc()
        self._session_seconds.observe(event.elapsed)
        self._octets.labels("received").inc(event.octets_received)
        self._octets.labels("sent").inc(event.octets_sent)


_COUNTERS: Final[dict[type, Callable[[PrometheusEvents, Any], None]]] = {
    ConnectedEvent: PrometheusEvents._count_connected,
    TLSEvent: PrometheusEvents._count_tls,
    HelloEvent: PrometheusEvents._count_hello,
    AuthEvent: PrometheusEvents._count_auth,
    MailEvent: PrometheusEvents._count_mail,
    RcptEvent: PrometheusEvents._count_rcpt,
    MessageEvent: PrometheusEvents._count_message,
    AbortedEvent: PrometheusEvents._count_aborted,
    CommandEvent: PrometheusEvents._count_command,
    RefusedEvent: PrometheusEvents._count_refused,
    ErrorEvent: PrometheusEvents._count_error,
    ClosedEvent: PrometheusEvents._count_closed,
}


def _result(*, is_accepted: bool) -> str:
    return "accepted" if is_accepted else "refused"
