"""The working tree against another commit: both run at the same time, and are measured by turns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory

from rich.table import Table

from benchmarks import load
from benchmarks.latency import IdleLatency, Submitter
from benchmarks.paired import CONFIDENCE, Comparison
from benchmarks.processes import CpuMeter
from benchmarks.report import Report
from benchmarks.running_product import THREE_STEPS, RunningProduct, SubmissionMode
from benchmarks.throughput import BATCH
from benchmarks.versions import checkout, revision, running
from embedded.product import PROJECT

SINGLE = SubmissionMode(connections=16)
"""Fewer connections than the web processes have slots, so that even a busy machine makes no request wait for one."""
EXECUTIONS = 2000
BATCHED = 8000
READS = 1000
IDLE_SAMPLES = 100
ABBA, BAAB = (0, 1, 1, 0), (1, 0, 0, 1)
Costs = Mapping[str, float]
Pair = tuple[Costs, Costs]
"""What both versions cost in a round: the working tree, and the other one."""


@dataclass(frozen=True, slots=True)
class Part:
    """`cost` measures one version once, and returns what an execution or request costs, by group of processes."""

    unit: str
    cost: Callable[[RunningProduct], Costs]


def one_by_one(product: RunningProduct) -> Costs:
    return _executions(product, EXECUTIONS, SINGLE)


def batch(product: RunningProduct) -> Costs:
    return _executions(product, BATCHED, BATCH)


def submission(product: RunningProduct) -> Costs:
    round_measured = product.round(THREE_STEPS, EXECUTIONS, SINGLE, paused=product.workers())
    return _by_group(round_measured.cpu, round_measured.items)


def read(product: RunningProduct) -> Costs:
    """GET of one execution that has ended."""
    task, _ = product.task(THREE_STEPS, READS, SINGLE)
    execution = Submitter(product).submit(task.item, 0)
    product.ledger.wait_until_idle(product.pipeline_id(THREE_STEPS))
    meter = CpuMeter(product.trees())
    account = load.submit(replace(task, method="GET", path=f"{task.path}/{execution}", item=""))
    return _by_group(load.with_client(meter.read(), account), READS)


def idle_latency(product: RunningProduct) -> Costs:
    return {"p50": median(IdleLatency(product).latencies("finish", IDLE_SAMPLES)) * 1e3}


PARTS = {
    "one-by-one": Part("CPU ms/execution", one_by_one),
    "batch": Part("CPU ms/execution", batch),
    "submission": Part("CPU ms/request", submission),
    "read": Part("CPU ms/request", read),
    "idle-latency": Part("wall-clock ms", idle_latency),
}


def against(report: Report, commit: str, rounds: int) -> list[Comparison]:
    """Compare the working tree with `commit` in the parts of the report. Raises `VersionError`.

    Each round starts both versions again, because two starts of the same version differ, too.
    """
    checkouts = [PROJECT, checkout(commit)]
    report.say(f"ours is the working tree, theirs is {revision(commit)}")
    pairs: dict[str, list[Pair]] = {name: [] for name in report.parts}
    for number in range(rounds):
        with TemporaryDirectory(prefix="coordinator-versions-") as logs, running(checkouts, Path(logs)) as versions:
            report.say(f"Round {number + 1} of {rounds}: both versions are up")
            # The version that is first alternates, too.
            order = ABBA if number % 2 == 0 else BAAB
            for name, measured in pairs.items():
                measured.append(_pair(versions, order, PARTS[name].cost))
                ours, theirs = (sum(costs.values()) for costs in measured[-1])
                report.say(f"{name}: {ours:.3f} : {theirs:.3f} {PARTS[name].unit}, ratio [b]{ours / theirs:.3f}[/]")
    comparisons = [_comparison(name, measured, len(pairs)) for name, measured in pairs.items()]
    for name, measured in pairs.items():
        report.console.print(_groups(name, measured))
    report.console.print(_verdicts(comparisons))
    return comparisons


def documents(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Return the comparisons as JSON values."""
    return [
        {
            **asdict(comparison),
            "ratio": comparison.ratio,
            "interval": comparison.interval,
            "verdict": comparison.verdict,
        }
        for comparison in comparisons
    ]


def _pair(versions: Sequence[RunningProduct], order: Sequence[int], cost: Callable[[RunningProduct], Costs]) -> Pair:
    """Measure both versions in this order, after a warm-up of each, and return the mean costs of each."""
    for version in versions:
        cost(version)
    measured: tuple[list[Costs], list[Costs]] = [], []
    for index in order:
        measured[index].append(cost(versions[index]))
    ours, theirs = ({group: mean(cost[group] for cost in costs) for group in costs[0]} for costs in measured)
    return ours, theirs


def _comparison(name: str, pairs: Sequence[Pair], tests: int) -> Comparison:
    """Compare what all groups of processes cost together."""
    ours, theirs = ([sum(costs.values()) for costs in side] for side in zip(*pairs, strict=True))
    return Comparison(name, PARTS[name].unit, ours, theirs, tests)


def _executions(product: RunningProduct, count: int, mode: SubmissionMode) -> Costs:
    round_measured = product.round(THREE_STEPS, count, mode)
    return _by_group(round_measured.cpu, round_measured.items)


def _by_group(cpu: Mapping[str, float], items: int) -> Costs:
    """Return CPU milliseconds for each item, by group of the product's processes."""
    costs: dict[str, float] = {}
    for process, seconds in cpu.items():
        if process not in {"client", "rest"}:
            group = "worker" if process.startswith("worker") else process
            costs[group] = costs.get(group, 0.0) + seconds / items * 1e3
    return costs


def _groups(name: str, pairs: Sequence[Pair]) -> Table:
    table = Table(title=f"{name}, {PARTS[name].unit}, medians", title_justify="left")
    for column in ("processes", "ours", "theirs", "ratio"):
        table.add_column(column, justify="left" if column == "processes" else "right")
    for group in {**pairs[0][0], **pairs[0][1]}:
        ours, theirs = (median(costs.get(group, 0.0) for costs in side) for side in zip(*pairs, strict=True))
        table.add_row(group, f"{ours:.3f}", f"{theirs:.3f}", f"{ours / theirs:.2f}" if theirs else "")
    return table


def _verdicts(comparisons: Sequence[Comparison]) -> Table:
    title = f"Ratios, rounds: {len(comparisons[0].ratios)}. The intervals hold together with {CONFIDENCE:.0%}"
    table = Table(title=title, title_justify="left")
    for column in ("measure", "unit", "ours", "theirs", "ratio", "interval", "verdict"):
        table.add_column(column, justify="left" if column in {"measure", "unit", "verdict"} else "right")
    for comparison in comparisons:
        table.add_row(
            comparison.name,
            comparison.unit,
            f"{median(comparison.ours):.3f}",
            f"{median(comparison.theirs):.3f}",
            f"{comparison.ratio:.3f}",
            "{:.3f} to {:.3f}".format(*comparison.interval) if comparison.interval else "",
            comparison.verdict,
        )
    return table
