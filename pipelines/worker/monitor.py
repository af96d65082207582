"""The HTTP port of a transition worker for its metrics and for probes of its main loop.

The metrics are in a separate registry, so that they never mix with metrics of the author's code.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.errors import DefinitionError
from pipelines.worker.host import Host
from pipelines.worker.outbox import Report

LONGEST_SILENCE = 60.0
"""Seconds without a beat after which the main loop counts as hanging."""
IDLE_SECONDS = 10.0
SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0)
TEXT = "text/plain; charset=utf-8"


class Described(NamedTuple):
    """What the documentation says about a metric."""

    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final = {
    "pipelines_transitions_total": Described("counter", "Transitions that ended, by their outcome.", ("outcome",)),
    "pipelines_transition_seconds": Described("histogram", "Run time of transitions."),
    "pipelines_threads": Described("gauge", "Transitions that may run at a time."),
    "pipelines_transitions_running": Described("gauge", "Transitions that run now."),
    "pipelines_transitions_waiting": Described("gauge", "Commands that wait for a thread."),
    "pipelines_transitions_abandoned": Described("gauge", "Threads that run transitions whose leases are lost."),
    "pipelines_accepting": Described("gauge", "1 if the worker accepts commands, else 0."),
    "pipelines_worker_info": Described(
        "gauge", "1, with the release that the worker hosts.", ("tenant", "pipeline", "release", "worker")
    ),
}


class Monitor:
    """Counts the outcomes of a host, and tells whether the loop that calls `beat` runs. Any thread may use it."""

    def __init__(self, host: Host, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beaten_at: float | None = None
        self._registry = CollectorRegistry()
        ended, seconds = "pipelines_transitions_total", "pipelines_transition_seconds"
        self._transitions = Counter(ended, METRICS[ended].help, METRICS[ended].labels, registry=self._registry)
        self._seconds = Histogram(seconds, METRICS[seconds].help, buckets=SECONDS, registry=self._registry)
        self._registry.register(_Gauges(host))

    def ended(self, report: Report) -> None:
        """Count the outcome in `report`, if it has one."""
        outcome = report.outcome
        if outcome is None:
            return
        self._transitions.labels(outcome.outcome).inc()
        spans = [outcome.span] if outcome.span else [each[1:] for each in outcome.steps]
        if spans:
            milliseconds = max(end for _, end in spans) - min(start for start, _ in spans)
            self._seconds.observe(max(milliseconds, 0) / 1000)

    def beat(self) -> None:
        self._beaten_at = self._clock()

    def wait(self) -> None:
        """Note that the loop waits for the broker. It is alive until it beats again."""
        self._beaten_at = None

    @property
    def silent_seconds(self) -> float:
        """Seconds since the last beat; 0 while the loop waits."""
        beaten_at = self._beaten_at
        return 0.0 if beaten_at is None else self._clock() - beaten_at

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterable[Metric]:
        in_use = self._host.leases_in_use()
        values = {
            "pipelines_threads": self._host.capacity,
            "pipelines_transitions_running": in_use.active,
            "pipelines_transitions_waiting": len(in_use.waiting),
            "pipelines_transitions_abandoned": in_use.abandoned,
            "pipelines_accepting": self._host.accepting,
        }
        for name, value in values.items():
            yield GaugeMetricFamily(name, METRICS[name].help, value=float(value))
        identity = self._host.release.identity
        described = METRICS["pipelines_worker_info"]
        info = GaugeMetricFamily("pipelines_worker_info", described.help, labels=described.labels)
        names = identity.tenant_id, identity.pipeline_id, identity.release_version, self._host.worker_id
        info.add_metric(names, 1.0)
        yield info


class Server(ThreadingHTTPServer):
    """Serves `/metrics` and `/live` of `monitor`. Raises `DefinitionError` if it cannot listen at the address."""

    daemon_threads = True

    def __init__(self, host: str, port: int, monitor: Monitor) -> None:
        self.monitor = monitor
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise DefinitionError("INVALID_ADDRESS", f"--metrics-port {port}: {error}") from error

    def start(self) -> None:
        threading.Thread(name="metrics", target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    timeout = IDLE_SECONDS
    server: Server

    def do_GET(self) -> None:
        monitor = self.server.monitor
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._send(200, monitor.text(), CONTENT_TYPE_LATEST)
        elif path != "/live":
            self._send(404, b"Only /metrics and /live exist.\n")
        elif (silent := monitor.silent_seconds) <= LONGEST_SILENCE:
            self._send(200, b"UP\n")
        else:
            self._send(503, f"The main loop has hung for {silent:.0f} s.\n".encode())

    def _send(self, status: int, body: bytes, kind: str = TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 - its parent's name
        """Log nothing: the author's log handlers may raise."""
