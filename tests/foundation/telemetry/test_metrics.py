"""Metrics: the bound on their series, their catalogue, and their text."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from foundation.telemetry.exposition import Exposition, Readings
from foundation.telemetry.metrics import Counter, Description, Gauge, Histogram, catalogue


def samples(exposition: Exposition, prefix: str) -> dict[str, float]:
    found = text_string_to_metric_families(exposition.text().decode())
    return {
        " ".join([sample.name, *(sample.labels[name] for name in sorted(sample.labels, reverse=True))]): sample.value
        for family in found
        for sample in family.samples
        if sample.name.startswith(prefix) and not sample.name.endswith("_created")
    }


def coordinator_metrics() -> dict[str, Description]:
    """Return the metrics of the product, without those that tests define."""
    return {name: each for name, each in catalogue.items() if name.startswith("coordinator_")}


def nothing() -> Readings:
    return {}


def test_beyond_the_bound_labels_that_name_releases_become_other(settings: Any) -> None:
    settings.METRICS_MAX_SERIES = 2
    counter = Counter("example0_runs_total", "Runs.", ("tenant", "pipeline", "outcome"))
    for number in range(5):
        counter.add("acme", f"p{number}", "GOOD")
    counter.add("acme", "p0", "GOOD", amount=10)
    counter.add("acme", "p9", "BAD")
    assert samples(Exposition(nothing), "example0_") == {
        "example0_runs_total acme p0 GOOD": 11,
        "example0_runs_total acme p1 GOOD": 1,
        "example0_runs_total other other GOOD": 3,
        "example0_runs_total other other BAD": 1,
    }


def test_metrics_without_such_labels_have_no_bound(settings: Any) -> None:
    settings.METRICS_MAX_SERIES = 1
    counter = Counter("example1_codes_total", "Codes.", ("code",))
    for code in ("A", "B", "C"):
        counter.add(code)
    assert len(samples(Exposition(nothing), "example1_")) == 3


def test_a_histogram_counts_by_size() -> None:
    sizes = Histogram("example2_size", "Sizes.", buckets=(1.0, 10.0))
    for size in (1, 5, 50):
        sizes.observe(amount=size)
    assert samples(Exposition(nothing), "example2_") == {
        "example2_size_bucket 1.0": 1,
        "example2_size_bucket 10.0": 2,
        "example2_size_bucket +Inf": 3,
        "example2_size_count": 3,
        "example2_size_sum": 56,
    }


def test_a_name_is_defined_once() -> None:
    Gauge("example3_level", "A level.")
    with pytest.raises(ValueError, match="example3_level"):
        Gauge("example3_level", "Another level.")


def test_gauges_are_read_at_most_every_few_seconds() -> None:
    level = Gauge("example4_level", "A level.", ("tenant",))
    reads: list[int] = []

    def read() -> Readings:
        reads.append(1)
        return {level: {("acme",): float(len(reads))}}

    exposition = Exposition(read)
    assert reads == []
    for _ in range(3):
        assert samples(exposition, "example4_") == {"example4_level acme": 1}
    assert reads == [1]


def test_without_gauges_the_counts_are_still_served(caplog: pytest.LogCaptureFixture) -> None:
    counter = Counter("example5_runs_total", "Runs.")
    counter.add()

    def fail() -> Readings:
        raise ConnectionError("a password")

    assert samples(Exposition(fail), "example5_") == {"example5_runs_total": 1}
    assert caplog.messages == ["The gauges cannot be read: ConnectionError"]


def test_names_and_units_follow_the_conventions() -> None:
    for name, described in coordinator_metrics().items():
        assert name.endswith("_total") == (described.kind == "counter"), name
        assert described.help.endswith("."), name
        if described.kind == "histogram":
            assert name.endswith(("_seconds", "_size")), name
