"""Metrics: the bound on their series, their catalogue, and their text."""

from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from foundation.telemetry.exposition import Exposition
from foundation.telemetry.metrics import Counter


def samples(exposition: Exposition, prefix: str) -> dict[str, float]:
    found = text_string_to_metric_families(exposition.text().decode())
    return {
        " ".join([sample.name, *(sample.labels[name] for name in sorted(sample.labels, reverse=True))]): sample.value
        for family in found
        for sample in family.samples
        if sample.name.startswith(prefix) and not sample.name.endswith("_created")
    }


def test_beyond_the_bound_labels_that_name_releases_become_other(settings: Any) -> None:
    settings.METRICS_MAX_SERIES = 2
    counter = Counter("example0_runs_total", "Runs.", ("tenant", "pipeline", "outcome"))
    for number in range(5):
        counter.add("acme", f"p{number}", "GOOD")
    counter.add("acme", "p0", "GOOD", amount=10)
    counter.add("acme", "p9", "BAD")
    assert samples(Exposition(dict), "example0_") == {
        "example0_runs_total acme p0 GOOD": 11,
        "example0_runs_total acme p1 GOOD": 1,
        "example0_runs_total other other GOOD": 3,
        "example0_runs_total other other BAD": 1,
    }
