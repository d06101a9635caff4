"""The events of a server as traces and metrics of OpenTelemetry (extra).

Install ``smtpx[opentelemetry]``; what exports them is set up as for any other library.

A session is a span of kind SERVER, a message a span within it. Names follow the
semantic conventions of OpenTelemetry where there are some: ``network.*``, ``client.*``,
``server.*``, ``tls.*``, ``user.*``, ``error.type``. For SMTP there are none; names of
ours begin with ``smtp.``, and are made as those for HTTP are.

Mail addresses, passwords and texts of exceptions are not exported.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from smtpx import __version__
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

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from smtpx.wire.replies import Reply

__all__ = ["OpenTelemetryEvents"]

Attributes: TypeAlias = dict[str, str | bool | int | float]

_NANOSECONDS: Final = 1_000_000_000


class OpenTelemetryEvents:
    """Traces and measures the sessions of servers; ``ServerOptions(events=...)``.

    Args:
        tracer_provider: by default the global one.
        meter_provider: likewise.

    Raises:
        ImportError: ``opentelemetry-api`` is not installed.

    >>> import smtpx
    >>> options = smtpx.ServerOptions(events=smtpx.OpenTelemetryEvents())
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra
        except ImportError as error:
            message = (
                "traces and metrics need the package opentelemetry-api: "
                "pip install 'smtpx[opentelemetry]'"
            )
            raise ImportError(message) from error
        self._trace = trace
        self._tracer = trace.get_tracer("smtpx.server", __version__, tracer_provider)
        meter = metrics.get_meter("smtpx.server", __version__, meter_provider)
        # Of the sessions there are now, each with its protocol.
        self._spans: dict[str, tuple[Span, Attributes]] = {}
        self._active = meter.create_up_down_counter(
            "smtp.server.active_sessions", "{session}", "Sessions there are now"
        )
        self._session_seconds = meter.create_histogram(
            "smtp.server.session.duration", "s", "How long sessions last"
        )
        self._message_seconds = meter.create_histogram(
            "smtp.server.message.duration", "s", "From DATA to the answer"
        )
        self._message_octets = meter.create_histogram(
            "smtp.server.message.size", "By", "Size of messages"
        )
        self._recipients = meter.create_counter(
            "smtp.server.message.recipients", "{recipient}", "Recipients of messages"
        )
        self._replies = meter.create_counter(
            "smtp.server.replies", "{reply}", "Answers to commands"
        )
        self._auth = meter.create_counter(
            "smtp.server.auth.attempts", "{attempt}", "AUTH exchanges"
        )
        self._errors = meter.create_counter(
            "smtp.server.errors", "{error}", "Faults of hooks"
        )
        self._octets = meter.create_counter(
            "smtp.server.io", "By", "Octets of sessions that ended"
        )

    def __call__(self, event: ServerEvent) -> None:
        """Take note of an event.

        Args:
            event: of any session of any server.
        """
        _NOTES[type(event)](self, event)

    def _protocol_of(self, event: ServerEvent) -> Attributes:
        return self._spans[event.session][1]

    def _add(self, event: ServerEvent, name: str, attributes: Attributes) -> None:
        self._spans[event.session][0].add_event(name, attributes)

    def _count_reply(self, event: ServerEvent, verb: str, reply: Reply) -> None:
        attributes: Attributes = {"smtp.command": verb, "smtp.reply.code": reply.code}
        self._replies.add(1, self._protocol_of(event) | attributes)

    def _note_connected(self, event: ConnectedEvent) -> None:
        protocol = _protocol(is_lmtp=event.is_lmtp)
        span = self._tracer.start_span(
            f"{protocol['network.protocol.name']} session",
            kind=self._trace.SpanKind.SERVER,
            attributes=protocol | _addresses(event) | {"session.id": event.session},
        )
        self._spans[event.session] = span, protocol
        self._active.add(1, protocol)

    def _note_tls(self, event: TLSEvent) -> None:
        span, _ = self._spans[event.session]
        span.set_attributes(
            {
                "tls.established": True,
                "tls.protocol.name": "tls",
                "tls.protocol.version": event.tls.version.removeprefix("TLSv"),
                "tls.cipher": event.tls.cipher,
            }
        )

    def _note_hello(self, event: HelloEvent) -> None:
        if event.reply.is_positive:
            self._note_protocol(event, _protocol(is_lmtp=event.verb == "LHLO"))
        self._count_reply(event, event.verb, event.reply)

    def _note_protocol(self, event: HelloEvent, protocol: Attributes) -> None:
        """Make another of a session at a server that takes SMTP and LMTP."""
        span, before = self._spans[event.session]
        if protocol == before:
            return
        self._spans[event.session] = span, protocol
        span.update_name(f"{protocol['network.protocol.name']} session")
        span.set_attributes(protocol)
        self._active.add(-1, before)
        self._active.add(1, protocol)

    def _note_auth(self, event: AuthEvent) -> None:
        attributes: Attributes = {
            "smtp.auth.mechanism": event.mechanism,
            "smtp.auth.success": event.reply.is_positive,
        }
        self._auth.add(1, self._protocol_of(event) | attributes)
        self._add(event, "smtp.auth", attributes)
        self._count_reply(event, "AUTH", event.reply)
        if event.user is not None:
            self._spans[event.session][0].set_attribute("user.name", event.user)

    def _note_mail(self, event: MailEvent) -> None:
        self._count_reply(event, "MAIL", event.reply)

    def _note_rcpt(self, event: RcptEvent) -> None:
        self._count_reply(event, "RCPT", event.reply)

    def _note_message(self, event: MessageEvent) -> None:
        accepted = sum(result.is_accepted for result in event.recipients)
        outcome: Attributes = {
            "smtp.message.outcome": "accepted" if event.is_accepted else "refused"
        }
        protocol = self._protocol_of(event)
        self._message_seconds.record(event.duration, protocol | outcome)
        self._message_octets.record(event.octets, protocol | outcome)
        for is_accepted, count in (
            (True, accepted),
            (False, len(event.recipients) - accepted),
        ):
            if count:
                which: Attributes = {"smtp.recipient.accepted": is_accepted}
                self._recipients.add(count, protocol | which)
        self._count_reply(event, "DATA", event.reply)
        facts: Attributes = {
            "smtp.message.recipients": len(event.recipients),
            "smtp.message.recipients.accepted": accepted,
            "smtp.message.size": event.octets,
            "smtp.reply.code": event.reply.code,
        }
        self._trace_message(event, event.duration, outcome | facts)

    def _note_aborted(self, event: AbortedEvent) -> None:
        outcome: Attributes = {"smtp.message.outcome": "aborted"}
        self._message_seconds.record(event.duration, self._protocol_of(event) | outcome)
        facts: Attributes = {
            "smtp.message.size": event.octets,
            "error.type": "aborted",
        }
        self._trace_message(event, event.duration, outcome | facts)

    def _trace_message(
        self, event: ServerEvent, seconds: float, attributes: Attributes
    ) -> None:
        """Enter a message, now that it is over, with the time that it took."""
        session, protocol = self._spans[event.session]
        end = time.time_ns()
        span = self._tracer.start_span(
            f"{protocol['network.protocol.name']} message",
            self._trace.set_span_in_context(session),
            attributes=protocol | attributes,
            start_time=end - int(seconds * _NANOSECONDS),
        )
        if "error.type" in attributes:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(end)

    def _note_command(self, event: CommandEvent) -> None:
        # A verb gets here only if it is registered, so there are not many.
        if event.reply is not None:
            self._count_reply(event, event.verb, event.reply)

    def _note_refused(self, event: RefusedEvent) -> None:
        self._count_reply(event, event.verb, event.reply)
        self._add(
            event,
            "smtp.refused",
            {"smtp.command": event.verb, "smtp.reply.code": event.reply.code},
        )

    def _note_error(self, event: ErrorEvent) -> None:
        kind = "timeout" if event.error is None else type(event.error).__qualname__
        attributes: Attributes = {"smtp.hook": event.hook, "error.type": kind}
        self._errors.add(1, self._protocol_of(event) | attributes)
        self._add(event, "smtp.error", attributes)
        span, _ = self._spans[event.session]
        span.set_status(self._trace.StatusCode.ERROR)
        span.set_attribute("error.type", kind)

    def _note_closed(self, event: ClosedEvent) -> None:
        span, protocol = self._spans.pop(event.session)
        self._active.add(-1, protocol)
        self._session_seconds.record(event.elapsed, protocol)
        for direction, octets in (
            ("receive", event.octets_received),
            ("transmit", event.octets_sent),
        ):
            self._octets.add(octets, protocol | {"network.io.direction": direction})
        span.set_attributes(
            {
                "smtp.session.end": event.reason,
                "smtp.session.clean": event.is_clean,
                "smtp.session.messages": event.messages,
            }
        )
        span.end()


def _protocol(*, is_lmtp: bool) -> Attributes:
    return {"network.protocol.name": "lmtp" if is_lmtp else "smtp"}


def _addresses(event: ConnectedEvent) -> Attributes:
    """Name both ends as the semantic conventions do."""
    host = event.peer_host
    attributes: Attributes = {
        "server.address": event.hostname,
        "network.transport": "unix" if host is None else "tcp",
    }
    if host is None:
        return attributes
    local_host, _, local_port = event.local.rpartition(":")
    port = int(event.peer.rpartition(":")[2])
    return attributes | {
        "network.type": "ipv6" if ":" in host else "ipv4",
        "network.peer.address": host,
        "network.peer.port": port,
        "client.address": host,
        "client.port": port,
        "network.local.address": local_host.strip("[]"),
        "network.local.port": int(local_port),
        "server.port": int(local_port),
    }


_NOTES: Final[dict[type, Callable[[OpenTelemetryEvents, Any], None]]] = {
    ConnectedEvent: OpenTelemetryEvents._note_connected,
    TLSEvent: OpenTelemetryEvents._note_tls,
    HelloEvent: OpenTelemetryEvents._note_hello,
    AuthEvent: OpenTelemetryEvents._note_auth,
    MailEvent: OpenTelemetryEvents._note_mail,
    RcptEvent: OpenTelemetryEvents._note_rcpt,
    MessageEvent: OpenTelemetryEvents._note_message,
    AbortedEvent: OpenTelemetryEvents._note_aborted,
    CommandEvent: OpenTelemetryEvents._note_command,
    RefusedEvent: OpenTelemetryEvents._note_refused,
    ErrorEvent: OpenTelemetryEvents._note_error,
    ClosedEvent: OpenTelemetryEvents._note_closed,
}
