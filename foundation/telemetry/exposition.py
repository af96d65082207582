"""The metrics of this process in the text format of Prometheus.

If web processes share their counts (`shared_files`), each of them answers with the sums. `Endpoint` is the HTTP server
of a process for its metrics and probes. `/metrics` answers with the metrics; with a token only to requests that bear
it. `/live` answers with 200 while the main loop of the process runs, and with 503 otherwise.
"""

import hmac
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from foundation.telemetry.liveness import Liveness
from foundation.telemetry.metrics import Gauge
from foundation.telemetry.shared_files import VARIABLE

log = logging.getLogger(__name__)
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
KEPT_SECONDS: Final = 5.0
"""For how long the values of gauges are used again."""
IDLE_SECONDS: Final = 10.0
TEXT: Final = "text/plain; charset=utf-8"
Readings = Mapping[Gauge, Mapping[tuple[str, ...], float]]
"""Values of gauges, by the values of their labels."""


class Exposition:
    """Answers with the counters and histograms, and with the gauges that `read` returns at most every KEPT_SECONDS.

    If `read` fails, the error is logged and the gauges are left out. So their absence is what an alert can notice.
    """

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._gauges = _Gauges(read)

    def text(self) -> bytes:
        registry = CollectorRegistry()
        sums: Any = MultiProcessCollector
        counted: Any = sums(None, os.environ[VARIABLE]) if VARIABLE in os.environ else REGISTRY
        registry.register(counted)
        registry.register(self._gauges)
        return generate_latest(registry)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._readings: Readings = {}
        self._read_at = float("-inf")

    def describe(self) -> Iterable[Metric]:
        """Registration must read nothing."""
        return ()

    def collect(self) -> Iterable[Metric]:
        for gauge, values in self._current().items():
            described = gauge.description
            family = GaugeMetricFamily(described.name, described.help, labels=described.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family

    def _current(self) -> Readings:
        with self._lock:
            if time.monotonic() - self._read_at >= KEPT_SECONDS:
                try:
                    self._readings = self._read()
                except Exception as error:
                    log.warning("The gauges cannot be read: %s", type(error).__name__)
                    self._readings = {}
                self._read_at = time.monotonic()
            return self._readings


def bears(authorization: str, token: str) -> bool:
    """Return True if an Authorization header bears `token`. Takes the same time for every wrong token."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


@dataclass(frozen=True, slots=True)
class Monitored:
    """What the server answers with. `token` is empty if anyone who reaches the port may read the metrics."""

    exposition: Exposition
    liveness: Liveness
    token: str = ""


class Endpoint(ThreadingHTTPServer):
    """Serves `monitored` at `host` and `port`. With `shared`, several processes may serve the same port.

    Raises OSError if it cannot listen there.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, monitored: Monitored, *, shared: bool = False) -> None:
        self.monitored = monitored
        self.allow_reuse_port = shared
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def start(self) -> None:
        threading.Thread(name="metrics", target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    timeout = IDLE_SECONDS
    server: Endpoint

    def do_GET(self) -> None:
        answers: dict[str, Callable[[], None]] = {"/metrics": self._metrics, "/live": self._live}
        answers.get(self.path.partition("?")[0], self._unknown)()

    def _metrics(self) -> None:
        monitored = self.server.monitored
        if monitored.token and not bears(self.headers.get("Authorization", ""), monitored.token):
            self._send(401, TEXT, b"The token is missing or wrong.\n")
        else:
            self._send(200, CONTENT_TYPE, monitored.exposition.text())

    def _live(self) -> None:
        liveness = self.server.monitored.liveness
        if liveness.is_alive():
            self._send(200, TEXT, b"UP\n")
        else:
            self._send(503, TEXT, f"The main loop has hung for {liveness.silent_seconds:.0f} s.\n".encode())

    def _unknown(self) -> None:
        self._send(404, TEXT, b"Only /metrics and /live exist.\n")

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 - its parent's name
        log.debug(format, *values)
