"""How those who run a server in a shell watch it: metrics, and a log of events."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpx.app.event_log import EventLog
from smtpx.app.prometheus import PrometheusEvents
from smtpx.cli.failures import ExitCode, Failure, explain
from smtpx.net.channel import format_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpx.server.events import EventSink

__all__ = ["Metrics", "log_events", "serve_metrics"]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics that are shown.

    Attributes:
        sink: counts the events of a server.
        url: where Prometheus gets them.
    """

    sink: EventSink
    url: str


@contextlib.contextmanager
def serve_metrics(address: tuple[str, int]) -> Iterator[Metrics]:
    """Show metrics by HTTP, in threads of their own.

    Args:
        address: where to listen; port 0 takes a free one.

    Yields:
        What counts, and where it is seen; both end with the block.

    Raises:
        Failure: the address cannot be used.
        ImportError: ``prometheus-client`` is not installed.
    """
    try:
        from prometheus_client import (  # noqa: PLC0415 - an extra
            CollectorRegistry,
            ProcessCollector,
            start_http_server,
        )
    except ImportError as error:
        message = (
            "--metrics needs the package prometheus-client: "
            "pip install 'smtpx[prometheus]'"
        )
        raise ImportError(message) from error
    # Not the one of the process, to which whatever is imported may add.
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    sink = PrometheusEvents(registry)
    host, port = address
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise Failure(
            ExitCode.OS_ERROR,
            f"--metrics {format_address(address)}: {explain(error)}; take another "
            "address",
        ) from None
    try:
        where = format_address((host, server.server_port))
        yield Metrics(sink, f"http://{where}/metrics")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def log_events() -> EventLog:
    """Return what logs events, and have the log show them."""
    logger = logging.getLogger("smtpx.events")
    logger.setLevel(logging.INFO)
    return EventLog(logger)
