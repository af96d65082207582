"""`coordinator list_metrics`: prints the page `docs/metrics.md`."""

from collections.abc import Iterator
from typing import Any, Final

from django.core.management.base import BaseCommand

from coordinator import request_middleware, waits
from coordinator.monitoring import gauges
from executions import metrics as executions
from foundation import broker_gate as wakeups
from foundation.telemetry.metrics import Description, catalogue
from pipelines.worker import monitor
from releases import metrics as releases


class Command(BaseCommand):
    help = "Print all metrics as a Markdown page, with their labels and meanings."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(page())


DEFINING: Final = (executions, releases, gauges, request_middleware, waits, wakeups)
"""The modules that define metrics. Their import fills the catalogue."""
PREFIX: Final = "coordinator_"
HEAD: Final = """\
# Metrics

`coordinator list_metrics` prints this page. [Observability](observability.md#metrics) describes how the metrics are
served. The labels `tenant`, `pipeline` and `release` become `other` beyond 500 series of a metric.
"""


def coordinator_metrics() -> list[Description]:
    return [catalogue[name] for name in sorted(catalogue) if name.startswith(PREFIX)]


def worker_metrics() -> list[Description]:
    return [Description(name, *each) for name, each in sorted(monitor.METRICS.items())]


def page() -> str:
    parts = [HEAD]
    counted = [each for each in coordinator_metrics() if each.kind != "gauge"]
    read = [each for each in coordinator_metrics() if each.kind == "gauge"]
    for title, text, described in (
        (
            "Counters and histograms",
            "Each process counts what it does. Sum them over all processes: `sum(rate(…))`.",
            counted,
        ),
        (
            "Gauges",
            "Web processes and control workers read the same gauges, so use `max(…)` over their instances, not `sum`.",
            read,
        ),
        ("Transition workers", "With `pipelines worker --metrics-port`.", worker_metrics()),
    ):
        parts.append("\n".join([f"## {title}", "", f"{text}", "", *_table(described)]))
    return "\n\n".join(part.rstrip("\n") for part in parts)


def _table(described: list[Description]) -> Iterator[str]:
    yield "| name | kind | labels | meaning |"
    yield "|---|---|---|---|"
    for each in described:
        labels = ", ".join(f"`{label}`" for label in each.labels)
        yield f"| `{each.name}` | {each.kind} | {labels} | {each.help} |"
