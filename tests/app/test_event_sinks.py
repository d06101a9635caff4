"""The sinks of events: logs, Prometheus, OpenTelemetry; what they show, and hide."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from smtpx.app.event_log import EventLog, describe_event, event_name, log_wire
from smtpx.app.prometheus import PrometheusEvents
from smtpx.app.telemetry import OpenTelemetryEvents
from smtpx.net.tls import TLSInfo
from smtpx.server import events
from smtpx.server.body import Body
from smtpx.server.events import (
    AbortedEvent,
    AuthEvent,
    ClosedEvent,
    CommandEvent,
    ConnectedEvent,
    ErrorEvent,
    EventSink,
    HelloEvent,
    MailEvent,
    MessageEvent,
    RcptEvent,
    RefusedEvent,
    ServerEvent,
    TLSEvent,
)
from smtpx.server.listener import Server
from smtpx.server.options import ServerOptions
from smtpx.server.session import Session
from smtpx.wire.address import Mailbox
from smtpx.wire.envelope import RecipientResult
from smtpx.wire.params import MailOptions, RcptOptions
from smtpx.wire.replies import Reply

OK = Reply(250, "2.0.0", "OK")
NO = Reply(550, "5.1.1", "nobody")
ANN, BOB = Mailbox.parse("ann@c.test"), Mailbox.parse("bob@mx.test")


def connected(session: str = "s1", **facts: Any) -> ConnectedEvent:  # noqa: ANN401 - fields
    given: dict[str, Any] = {
        "hostname": "mx.test",
        "peer": "192.0.2.1:40112",
        "peer_host": "192.0.2.1",
        "local": "192.0.2.25:25",
        "is_lmtp": False,
    }
    return ConnectedEvent(session=session, elapsed=0.0, **(given | facts))


def message(*replies: Reply, octets: int = 2_000) -> MessageEvent:
    return MessageEvent(
        session="s1",
        elapsed=1.5,
        reverse_path=ANN,
        recipients=tuple(
            RecipientResult(str(BOB), reply, reply.is_positive) for reply in replies
        ),
        octets=octets,
        duration=0.25,
        reply=replies[-1],
    )


def auth(reply: Reply, user: str | None) -> AuthEvent:
    return AuthEvent(
        session="s1",
        elapsed=0.5,
        mechanism="PLAIN",
        user=user,
        claimed_user="hunter2",
        reply=reply,
    )


def closed(**facts: Any) -> ClosedEvent:  # noqa: ANN401 - the fields
    given: dict[str, Any] = {
        "reason": "QUIT",
        "is_clean": True,
        "reply": None,
        "octets_received": 300,
        "octets_sent": 500,
        "messages": 1,
    }
    return ClosedEvent(session="s1", elapsed=2.0, **(given | facts))


EVENTS: list[ServerEvent] = [
    connected(),
    TLSEvent(session="s1", elapsed=0.1, tls=TLSInfo("TLSv1.3", "AES256", 256)),
    HelloEvent(session="s1", elapsed=0.2, verb="EHLO", name="c.test", reply=OK),
    auth(Reply(535, "5.7.8", "wrong"), None),
    auth(Reply(235, "2.7.0", "right"), "tim"),
    CommandEvent(session="s1", elapsed=0.5, verb="XPASS", argument="hunter2", reply=OK),
    CommandEvent(session="s1", elapsed=0.5, verb="HELP", argument="", reply=None),
    MailEvent(
        session="s1", elapsed=0.6, reverse_path=None, options=MailOptions(), reply=OK
    ),
    RcptEvent(
        session="s1", elapsed=0.7, forward_path=BOB, options=RcptOptions(), reply=NO
    ),
    RefusedEvent(session="s1", elapsed=0.8, command="FROB ***", reply=NO),
    AbortedEvent(session="s1", elapsed=0.9, reason="cut off", octets=7, duration=0.1),
    message(OK, NO),
    ErrorEvent(
        session="s1",
        elapsed=1.6,
        hook="reset",
        text="a hook raised",
        error=KeyError("hunter2"),
    ),
    closed(),
]


def test_there_is_an_example_of_each() -> None:
    kinds = {name for name in events.__all__ if name.endswith("Event")}
    assert {type(event).__name__ for event in EVENTS} == kinds - {"ServerEvent"}


# --- The log. ---


def logged(*told: ServerEvent, level: int = logging.DEBUG) -> list[logging.LogRecord]:
    records: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.Logger("test", level)
    logger.addHandler(Keep())
    sink = EventLog(logger)
    for event in told:
        sink(event)
    return records


def test_each_event_is_a_line() -> None:
    assert [record.getMessage() for record in logged(*EVENTS)] == [
        "s1 connected peer=192.0.2.1:40112 local=192.0.2.25:25 protocol=smtp",
        "s1 tls version=TLSv1.3 cipher=AES256",
        's1 hello verb=EHLO name=c.test reply=250 text="2.0.0 OK"',
        's1 auth mechanism=PLAIN reply=535 text="5.7.8 wrong"',
        's1 auth mechanism=PLAIN user=tim reply=235 text="2.7.0 right"',
        's1 command verb=XPASS reply=250 text="2.0.0 OK"',
        "s1 command verb=HELP",
        's1 mail sender="" reply=250 text="2.0.0 OK"',
        's1 rcpt recipient=bob@mx.test reply=550 text="5.1.1 nobody"',
        's1 refused command="FROB ***" reply=550 text="5.1.1 nobody"',
        's1 aborted reason="cut off" octets=7 duration=0.1',
        "s1 message sender=ann@c.test recipients=2 accepted=1 octets=2000 "
        'duration=0.25 reply=550 text="5.1.1 nobody"',
        's1 error hook=reset error=KeyError text="a hook raised"',
        "s1 closed reason=QUIT clean=True received=300 sent=500 messages=1",
    ]


def test_records_carry_the_facts() -> None:
    (record,) = logged(auth(OK, "tim"))
    facts: dict[str, object] = vars(record)["smtpx"]
    assert facts == {
        "event": "auth",
        "session": "s1",
        "elapsed": 0.5,
        "mechanism": "PLAIN",
        "user": "tim",
        "reply": 250,
        "text": "2.0.0 OK",
    }


@pytest.mark.parametrize(
    ("event", "level"),
    [
        (connected(), logging.INFO),
        (auth(OK, "tim"), logging.INFO),
        (auth(NO, None), logging.WARNING),
        (EVENTS[7], logging.DEBUG),
        (EVENTS[8], logging.INFO),
        (EVENTS[5], logging.DEBUG),
        (message(OK), logging.INFO),
        (EVENTS[12], logging.ERROR),
        (closed(), logging.INFO),
    ],
)
def test_levels(event: ServerEvent, level: int) -> None:
    (record,) = logged(event)
    assert record.levelno == level
    assert logged(event, level=level + 1) == []


def test_no_line_is_split_and_no_secret_shown() -> None:
    evil = HelloEvent(
        session="s1", elapsed=0.0, verb="EHLO", name='a\r\nb "\x1b\u2028', reply=OK
    )
    lines = [record.getMessage() for record in logged(evil, *EVENTS)]
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert 'name="a\\r\\nb \\"\\u001b\\u2028"' in lines[0]
    assert "hunter2" not in "".join(lines)
    assert "hunter2" not in repr([describe_event(event) for event in EVENTS])


def test_names() -> None:
    assert [event_name(event) for event in EVENTS[:3]] == ["connected", "tls", "hello"]


def test_default_loggers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        EventLog()(connected())
        log_wire()("s1", "C: QUIT")
    assert [(r.name, r.levelno) for r in caplog.records] == [
        ("smtpx.events", logging.INFO),
        ("smtpx.wire", logging.DEBUG),
    ]
    assert caplog.records[1].getMessage() == "s1 C: QUIT"


# --- Prometheus. ---


def counted(*told: ServerEvent) -> dict[str, float]:
    registry = CollectorRegistry()
    sink = PrometheusEvents(registry)
    for event in told:
        sink(event)
    samples = {}
    for metric in registry.collect():
        for sample in metric.samples:
            labels = ",".join(sample.labels.values())
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return samples


def test_metrics_for_prometheus() -> None:
    samples = counted(*EVENTS)
    expected = {
        "smtpx_sessions_total{smtp}": 1,
        "smtpx_sessions_active{}": 0,
        "smtpx_sessions_ended_total{clean}": 1,
        "smtpx_session_duration_seconds_sum{}": 2.0,
        "smtpx_session_duration_seconds_count{}": 1,
        "smtpx_transferred_bytes_total{received}": 300,
        "smtpx_transferred_bytes_total{sent}": 500,
        "smtpx_tls_sessions_total{TLSv1.3}": 1,
        "smtpx_auth_attempts_total{PLAIN,failure}": 1,
        "smtpx_auth_attempts_total{PLAIN,success}": 1,
        "smtpx_messages_total{accepted}": 1,
        "smtpx_messages_total{aborted}": 1,
        "smtpx_message_recipients_total{accepted}": 1,
        "smtpx_message_recipients_total{refused}": 1,
        "smtpx_message_size_bytes_sum{}": 2000,
        "smtpx_message_size_bytes_bucket{1024.0}": 0,
        "smtpx_message_size_bytes_bucket{4096.0}": 1,
        "smtpx_message_size_bytes_bucket{+Inf}": 1,
        "smtpx_message_duration_seconds_sum{}": 0.25,
        "smtpx_errors_total{reset}": 1,
        "smtpx_replies_total{EHLO,250}": 1,
        "smtpx_replies_total{AUTH,535}": 1,
        "smtpx_replies_total{AUTH,235}": 1,
        "smtpx_replies_total{XPASS,250}": 1,
        "smtpx_replies_total{MAIL,250}": 1,
        "smtpx_replies_total{RCPT,550}": 1,
        "smtpx_replies_total{other,550}": 1,
        "smtpx_replies_total{DATA,550}": 1,
    }
    assert {name: samples.get(name) for name in expected} == expected
    assert not [name for name in samples if "HELP" in name]


def test_sessions_under_way_and_refused_messages() -> None:
    samples = counted(
        connected(),
        connected("s2", is_lmtp=True),
        connected("s3"),
        message(NO),
        closed(is_clean=False),
    )
    assert samples["smtpx_sessions_active{}"] == 2
    assert samples["smtpx_sessions_total{lmtp}"] == 1
    assert samples["smtpx_sessions_ended_total{broken}"] == 1
    assert samples["smtpx_messages_total{refused}"] == 1


def hello(verb: str, reply: Reply = OK) -> HelloEvent:
    return HelloEvent(session="s1", elapsed=0.2, verb=verb, name="c.test", reply=reply)


@pytest.mark.parametrize(
    ("hellos", "protocol"),
    [
        ([hello("LHLO")], "lmtp"),
        ([hello("EHLO")], "smtp"),
        ([hello("HELO")], "smtp"),
        # A refused one decides nothing, and later ones change nothing.
        ([hello("EHLO", NO), hello("LHLO"), hello("LHLO")], "lmtp"),
        ([hello("LHLO", NO)], "smtp"),
        ([hello("EHLO"), hello("LHLO", NO)], "smtp"),
        ([], "smtp"),
    ],
)
def test_a_session_that_may_be_either_counts_as_what_it_becomes(
    hellos: list[HelloEvent], protocol: str
) -> None:
    begun = connected(takes_lmtp_too=True)
    assert sessions(begun) == {}
    assert counted(begun)["smtpx_sessions_active{}"] == 1
    is_known = any(each.reply.is_positive for each in hellos)
    assert sessions(begun, *hellos) == ({protocol: 1} if is_known else {})
    assert sessions(begun, *hellos, closed()) == {protocol: 1}


def sessions(*told: ServerEvent) -> dict[str, float]:
    """Return how many sessions are counted, by protocol."""
    name, samples = "smtpx_sessions_total{", counted(*told)
    found = {key: value for key, value in samples.items() if key.startswith(name)}
    return {key[len(name) : -1]: value for key, value in found.items()}


def test_labels_do_not_grow_with_what_clients_say() -> None:
    def refused(command: str) -> RefusedEvent:
        return RefusedEvent(session="s1", elapsed=0.0, command=command, reply=NO)

    made_up = [refused(f"FROB{number} ***") for number in range(1_000)]
    names = [
        HelloEvent(
            session="s1", elapsed=0.0, verb="EHLO", name=f"h{number}.test", reply=OK
        )
        for number in range(1_000)
    ]
    few = len(counted(refused("FROB ***"), names[0]))
    assert len(counted(*made_up, *names)) == few
    assert len(counted(refused("mail x"), names[0])) == few


def test_two_servers_share_one_object() -> None:
    registry = CollectorRegistry()
    PrometheusEvents(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        PrometheusEvents(registry)
    PrometheusEvents(registry, namespace="submission")


# --- OpenTelemetry. ---


class Telemetry:
    """The SDK, with exporters that keep all in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._providers = tracers, MeterProvider([self._reader], shutdown_on_exit=False)
        self.sink = OpenTelemetryEvents(*self._providers)

    def tell(self, *told: ServerEvent) -> None:
        for event in told:
            self.sink(event)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def points(self, name: str) -> dict[tuple[object, ...], Any]:
        """Return the points of a metric by the values of their attributes."""
        data: Any = self._reader.get_metrics_data()
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "smtpx.server"
        (metric,) = [metric for metric in scope.metrics if metric.name == name]
        return {
            tuple(point.attributes.values()): point for point in metric.data.data_points
        }

    def values(self, name: str) -> dict[tuple[object, ...], float]:
        return {key: point.value for key, point in self.points(name).items()}

    def close(self) -> None:
        for provider in self._providers:
            provider.shutdown()


@pytest.fixture
def telemetry() -> Any:  # noqa: ANN401 - a generator of Telemetry
    telemetry = Telemetry()
    yield telemetry
    telemetry.close()


def test_spans_of_a_session_and_its_messages(telemetry: Telemetry) -> None:
    telemetry.tell(*EVENTS)
    session = telemetry.spans["smtp session"]
    assert session.kind is SpanKind.SERVER
    assert dict(session.attributes or {}) == {
        "network.protocol.name": "smtp",
        "network.transport": "tcp",
        "network.type": "ipv4",
        "network.peer.address": "192.0.2.1",
        "network.peer.port": 40112,
        "client.address": "192.0.2.1",
        "client.port": 40112,
        "network.local.address": "192.0.2.25",
        "network.local.port": 25,
        "server.address": "mx.test",
        "server.port": 25,
        "session.id": "s1",
        "tls.established": True,
        "tls.protocol.name": "tls",
        "tls.protocol.version": "1.3",
        "tls.cipher": "AES256",
        "user.name": "tim",
        "error.type": "KeyError",
        "smtp.session.end": "QUIT",
        "smtp.session.clean": True,
        "smtp.session.messages": 1,
    }
    assert session.status.status_code is StatusCode.ERROR
    assert [(e.name, dict(e.attributes or {})) for e in session.events] == [
        ("smtp.auth", {"smtp.auth.mechanism": "PLAIN", "smtp.auth.success": False}),
        ("smtp.auth", {"smtp.auth.mechanism": "PLAIN", "smtp.auth.success": True}),
        ("smtp.refused", {"smtp.command": "other", "smtp.reply.code": 550}),
        ("smtp.error", {"smtp.hook": "reset", "error.type": "KeyError"}),
    ]
    last = telemetry.spans["smtp message"]
    assert last.parent is not None
    assert session.context is not None
    assert last.parent.span_id == session.context.span_id
    assert dict(last.attributes or {}) == {
        "network.protocol.name": "smtp",
        "smtp.message.outcome": "accepted",
        "smtp.message.recipients": 2,
        "smtp.message.recipients.accepted": 1,
        "smtp.message.size": 2000,
        "smtp.reply.code": 550,
    }
    assert last.start_time is not None
    assert last.end_time is not None
    assert last.end_time - last.start_time == 250_000_000
    assert last.status.status_code is StatusCode.UNSET


def test_an_aborted_message(telemetry: Telemetry) -> None:
    telemetry.tell(connected(), EVENTS[10])
    span = telemetry.spans["smtp message"]
    assert dict(span.attributes or {}) == {
        "network.protocol.name": "smtp",
        "smtp.message.outcome": "aborted",
        "smtp.message.size": 7,
        "error.type": "aborted",
    }
    assert span.status.status_code is StatusCode.ERROR


def test_metrics_of_opentelemetry(telemetry: Telemetry) -> None:
    telemetry.tell(connected("s2"), *EVENTS)
    assert telemetry.values("smtp.server.active_sessions") == {("smtp",): 1}
    assert telemetry.values("smtp.server.message.recipients") == {
        ("smtp", True): 1,
        ("smtp", False): 1,
    }
    assert telemetry.values("smtp.server.auth.attempts") == {
        ("smtp", "PLAIN", False): 1,
        ("smtp", "PLAIN", True): 1,
    }
    assert telemetry.values("smtp.server.errors") == {("smtp", "reset", "KeyError"): 1}
    assert telemetry.values("smtp.server.io") == {
        ("smtp", "receive"): 300,
        ("smtp", "transmit"): 500,
    }
    replies = telemetry.values("smtp.server.replies")
    assert replies["smtp", "EHLO", 250] == replies["smtp", "other", 550] == 1
    assert len(replies) == 8
    sessions = telemetry.points("smtp.server.session.duration")
    assert [(key, point.sum) for key, point in sessions.items()] == [(("smtp",), 2.0)]
    sizes = telemetry.points("smtp.server.message.size")
    assert [(key, point.sum) for key, point in sizes.items()] == [
        (("smtp", "accepted"), 2000)
    ]
    durations = telemetry.points("smtp.server.message.duration")
    assert {key: point.sum for key, point in durations.items()} == {
        ("smtp", "accepted"): 0.25,
        ("smtp", "aborted"): 0.1,
    }


@pytest.mark.parametrize(
    ("facts", "attributes"),
    [
        (
            {"peer": "unix:", "peer_host": None, "local": "unix:/run/smtp"},
            {"network.transport": "unix"},
        ),
        (
            {
                "peer": "[2001:db8::1]:40112",
                "peer_host": "2001:db8::1",
                "local": "[2001:db8::25]:24",
                "is_lmtp": True,
            },
            {
                "network.protocol.name": "lmtp",
                "network.type": "ipv6",
                "client.address": "2001:db8::1",
                "client.port": 40112,
                "network.local.address": "2001:db8::25",
                "server.port": 24,
            },
        ),
        # An IPv4 client of a dual-stack socket.
        (
            {"peer": "[::ffff:192.0.2.1]:40112", "peer_host": "192.0.2.1"},
            {"network.type": "ipv4", "network.peer.address": "192.0.2.1"},
        ),
    ],
)
def test_addresses(
    telemetry: Telemetry, facts: dict[str, Any], attributes: dict[str, object]
) -> None:
    telemetry.tell(connected(**facts), closed())
    (span,) = telemetry.spans.values()
    told = dict(span.attributes or {})
    assert {name: told.get(name) for name in attributes} == attributes
    assert ("client.port" in told) is (facts["peer"] != "unix:")


def test_a_session_becomes_lmtp(telemetry: Telemetry) -> None:
    telemetry.tell(
        connected(takes_lmtp_too=True),
        hello("LHLO", NO),
        hello("LHLO"),
        message(OK, NO),
        closed(),
    )
    assert set(telemetry.spans) == {"lmtp session", "lmtp message"}
    for span in telemetry.spans.values():
        assert dict(span.attributes or {})["network.protocol.name"] == "lmtp"
    active = telemetry.values("smtp.server.active_sessions")
    assert active == {("lmtp",): 0, ("smtp",): 0}
    durations = telemetry.points("smtp.server.session.duration")
    assert list(durations) == [("lmtp",)]
    replies = telemetry.values("smtp.server.replies")
    assert replies["smtp", "LHLO", 550] == replies["lmtp", "LHLO", 250] == 1


def test_nothing_is_kept_of_a_session_that_ended(telemetry: Telemetry) -> None:
    telemetry.tell(connected(), closed())
    with pytest.raises(KeyError):
        telemetry.tell(closed())


def test_a_hook_that_took_too_long(telemetry: Telemetry) -> None:
    slow = ErrorEvent(
        session="s1", elapsed=1.0, hook="data", text="a hook took too long", error=None
    )
    telemetry.tell(connected(), slow)
    assert telemetry.values("smtp.server.errors") == {("smtp", "data", "timeout"): 1}


# --- All of them. ---


def test_no_secret_and_no_address_is_exported(telemetry: Telemetry) -> None:
    telemetry.tell(*EVENTS)
    told = "".join(span.to_json() for span in telemetry.spans.values())
    assert "smtp.auth" in told
    for hidden in ("hunter2", "ann@c.test", "bob@mx.test"):
        assert hidden not in told
        assert hidden not in repr(counted(*EVENTS))


@pytest.mark.parametrize(
    ("module", "make", "extra"),
    [
        ("prometheus_client", PrometheusEvents, "smtpx[prometheus]"),
        ("opentelemetry", OpenTelemetryEvents, "smtpx[opentelemetry]"),
    ],
)
def test_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str, make: type, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError) as caught:
        make()
    assert str(caught.value).endswith(f"pip install '{extra}'")


def test_all_sinks_on_a_server(telemetry: Telemetry) -> None:
    registry = CollectorRegistry()
    sinks: tuple[EventSink, ...] = (
        EventLog(),
        PrometheusEvents(registry),
        telemetry.sink,
    )

    class Inbox(Session):
        async def data(self, body: Body) -> Reply | None:
            await body.read()
            return OK

    async def scenario() -> None:
        options = ServerOptions(hostname="mx.test", events=sinks)
        async with Server(Inbox, options=options) as server:
            host, _, port = server.addresses[0].rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"HELO c.test\r\nMAIL FROM:<ann@c.test>\r\nRCPT TO:<bob@mx.test>\r\n"
                b"DATA\r\nhi\r\n.\r\nQUIT\r\n"
            )
            await reader.read()
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())
    ended = registry.get_sample_value("smtpx_sessions_ended_total", {"end": "clean"})
    assert ended == 1
    assert set(telemetry.spans) == {"smtp session", "smtp message"}


def test_events_are_values() -> None:
    assert message(OK) == message(OK)
    assert message(OK) != message(NO)
    with pytest.raises(AttributeError):
        setattr(EVENTS[0], "peer", "x")  # noqa: B010 - frozen for mypy, too
