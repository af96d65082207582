"""The page of all metrics."""

from typing import Final

from coordinator import request_middleware, waits
from coordinator.monitoring import gauges
from docs.generators.markdown import code, codes, joined, table
from executions import metrics as executions
from foundation import broker_gate as wakeups
from foundation.telemetry.metrics import Description, catalogue
from pipelines.worker import monitor
from releases import metrics as releases

DEFINING: Final = (executions, releases, gauges, request_middleware, waits, wakeups)
"""The modules that define metrics. Their import fills the catalogue."""
PREFIX: Final = "coordinator_"
HEAD: Final = """\
# Metrics

All metrics of the coordinator and of workers, in the conventions of Prometheus. Counters count what is committed. The
labels `tenant`, `pipeline` and `release` become `other` beyond 500 series of a metric. [Monitor the
coordinator](../how-to/monitor.md) says how the metrics are served.
"""
COUNTED: Final = "Each process counts what it does. Sum them over all processes: `sum(rate(…))`."
READ: Final = "Web processes and control workers read the same gauges. Use `max(…)` over their instances, not `sum`."
OF_WORKERS: Final = "`pipelines worker --metrics-port` serves them."


def coordinator_metrics() -> list[Description]:
    return [catalogue[name] for name in sorted(catalogue) if name.startswith(PREFIX)]


def worker_metrics() -> list[Description]:
    return [Description(name, *members) for name, members in sorted(monitor.METRICS.items())]


def page() -> str:
    counted = [metric for metric in coordinator_metrics() if metric.kind != "gauge"]
    read = [metric for metric in coordinator_metrics() if metric.kind == "gauge"]
    return joined(
        HEAD,
        *("## Counters and histograms", COUNTED, _listed(counted)),
        *("## Gauges", READ, _listed(read)),
        *("## Workers", OF_WORKERS, _listed(worker_metrics())),
    )


def _listed(described: list[Description]) -> str:
    rows = [(code(metric.name), metric.kind, codes(metric.labels), metric.help) for metric in described]
    return table(("name", "kind", "labels", "meaning"), rows)
