"""The metrics of this process in the text format of Prometheus.

If web processes share their counts (`shared_files`), each of them answers with the sums.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from foundation.telemetry.metrics import Gauge
from foundation.telemetry.shared_files import VARIABLE

log = logging.getLogger(__name__)
KEPT_SECONDS: Final = 5.0
"""For how long the values of gauges are used again."""
Readings = Mapping[Gauge, Mapping[tuple[str, ...], float]]
"""Values of gauges, by the values of their labels."""


class Exposition:
    """Answers with the counters and histograms, and with the gauges that `read` returns at most every KEPT_SECONDS.

    If `read` fails, the error is logged and the gauges are left out. So their absence is what an alert can notice.
    """

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._gauges = _Gauges(read)

    def text(self) -> bytes:
        registry, counts = CollectorRegistry(), cast("Any", REGISTRY)
        if VARIABLE in os.environ:
            counts = cast("Any", MultiProcessCollector)(None, os.environ[VARIABLE])
        registry.register(counts)
        registry.register(self._gauges)
        return generate_latest(registry)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._readings: Readings = {}
        self._read_at = float("-inf")

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
