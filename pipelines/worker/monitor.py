"""The metrics of a worker.

They are in a separate registry, so that they never mix with metrics of the author's code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipelines.worker.host import Host
from pipelines.worker.outcomes import Report

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1800.0)


class Described(NamedTuple):
    """What the documentation says about a metric."""

    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


METRICS: Final = {
    "pipelines_transitions_total": Described("counter", "Attempts that ended, by their outcome.", ("outcome",)),
    "pipelines_transition_seconds": Described("histogram", "Run time of attempts."),
    "pipelines_threads": Described("gauge", "Attempts that may run at a time."),
    "pipelines_transitions_running": Described("gauge", "Attempts that run now."),
    "pipelines_transitions_waiting": Described("gauge", "Commands that wait for a thread."),
    "pipelines_transitions_abandoned": Described("gauge", "Threads that run attempts whose outcomes no longer count."),
    "pipelines_accepting": Described("gauge", "1 if the worker accepts commands, else 0."),
    "pipelines_worker_info": Described(
        "gauge", "1, with the release that the worker hosts.", ("tenant", "pipeline", "release", "worker")
    ),
}


class Monitor:
    """Counts the outcomes of a host. Any thread may use it."""

    def __init__(self, host: Host) -> None:
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
        spans = [outcome.span] if outcome.span else [step[1:] for step in outcome.steps]
        if spans:
            milliseconds = max(end for _, end in spans) - min(start for start, _ in spans)
            self._seconds.observe(max(milliseconds, 0) / 1000)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterable[Metric]:
        in_use = self._host.leases.in_use()
        values = {
            "pipelines_threads": self._host.capacity + self._host.supervisor.replaced,
            "pipelines_transitions_running": in_use.active,
            "pipelines_transitions_waiting": len(in_use.waiting),
            "pipelines_transitions_abandoned": in_use.abandoned + self._host.supervisor.abandoned,
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
