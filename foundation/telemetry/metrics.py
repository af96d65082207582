"""Counters, histograms and gauges of the product's processes, in one catalogue.

The number of series is bounded. Once a metric of this process has METRICS_MAX_SERIES sets of labels, the labels in
BOUNDED of every new set become OTHER. Web processes of one parent share their counts (`shared_files`), and each of them
answers with the sums.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import prometheus_client
from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from foundation.telemetry.shared_files import VARIABLE

BOUNDED: Final = frozenset({"tenant", "pipeline", "release"})
OTHER: Final = "other"
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""The bounds of histograms of times."""
SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
"""The bounds of histograms of group sizes."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the catalogue says about a metric. `name` is the name that Prometheus stores, without suffixes of parts."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...]


catalogue: dict[str, Description] = {}
"""Every metric that has been defined in this process, by its name."""


class _Series:
    def __init__(self, metric: Any, labels: tuple[str, ...]) -> None:
        self._metric = metric
        self._labels = labels
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ...], Any] = {} if labels else {(): metric}

    def of(self, values: tuple[str, ...]) -> Any:
        return self._known.get(values) or self._new(values)

    def _new(self, values: tuple[str, ...]) -> Any:
        with self._lock:
            if len(self._known) < settings.METRICS_MAX_SERIES or BOUNDED.isdisjoint(self._labels):
                return self._known.setdefault(values, self._metric.labels(*values))
        # Not remembered by these values: their number is unlimited.
        bounded = (OTHER if name in BOUNDED else value for name, value in zip(self._labels, values, strict=True))
        return self._metric.labels(*bounded)


class Counter:
    """A number that only grows. `name` ends with `_total`."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.description = _described(name, "counter", text, labels)
        self._series = _Series(prometheus_client.Counter(name, text, labels), self.description.labels)

    def add(self, *values: str, amount: float = 1) -> None:
        """Add `amount` to the series whose labels have these values, in the order of the definition."""
        self._series.of(values).inc(amount)


class Histogram:
    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = SECONDS) -> None:
        self.description = _described(name, "histogram", text, labels)
        metric = prometheus_client.Histogram(name, text, labels, buckets=buckets)
        self._series = _Series(metric, self.description.labels)

    def observe(self, *values: str, amount: float) -> None:
        """Count `amount`. The labels have these values, in the order of the definition."""
        self._series.of(values).observe(amount)

    def observe_all(self, *values: str, amounts: Iterable[float]) -> None:
        """As `observe`, for many amounts of one series."""
        observe = self._series.of(values).observe
        for amount in amounts:
            observe(amount)


class Gauge:
    """A value that is read for each response with metrics (`foundation.telemetry.metrics.Readings`)."""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.description = _described(name, "gauge", text, labels)


def _described(
    name: str, kind: Literal["counter", "histogram", "gauge"], text: str, labels: Sequence[str]
) -> Description:
    """Add a metric to the catalogue. Raises ValueError if there is one of that name, which is a programming error."""
    if name in catalogue:
        raise ValueError(f"There is a metric {name} already.")
    catalogue[name] = Description(name, kind, text, tuple(labels))
    return catalogue[name]


log = logging.getLogger(__name__)
KEPT_SECONDS: Final = 5.0
"""For how long the values of gauges are used again."""
Readings = Mapping[Gauge, Mapping[tuple[str, ...], float]]
"""Values of gauges, by the values of their labels."""


class Exposition(Collector):
    """Answers with the counters and histograms, and with the gauges that `read` returns at most every KEPT_SECONDS.

    If `read` fails, the error is logged and the gauges are left out. So their absence is what an alert can notice.
    """

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._readings: Readings = {}
        self._read_at = float("-inf")

    def text(self) -> bytes:
        registry, counts = CollectorRegistry(), cast("Any", REGISTRY)
        if VARIABLE in os.environ:
            counts = cast("Any", MultiProcessCollector)(None, os.environ[VARIABLE])
        registry.register(counts)
        registry.register(self)
        return generate_latest(registry)

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
