"""The working tree against another commit: both run at the same time, and are measured by turns."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.table import Table

from benchmarks import load
from benchmarks.latency import IdleLatency, Submitter
from benchmarks.paired import CONFIDENCE, Comparison, rounds_needed
from benchmarks.processes import CpuMeter
from benchmarks.report import Report
from benchmarks.running_product import THREE_STEPS, RunningProduct, SubmissionMode
from benchmarks.throughput import BATCH, ONE_BY_ONE
from benchmarks.versions import checkout, revision, running
from embedded.product import PROJECT

EXECUTIONS = 2000
BATCHED = 8000
READS = 3000
IDLE_SAMPLES = 100
ABBA = (0, 1, 1, 0)
Costs = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Part:
    """`cost` measures one version once, and returns what an execution or request costs, by group of processes."""

    unit: str
    cost: Callable[[RunningProduct], Costs]


def one_by_one(product: RunningProduct) -> Costs:
    return _executions(product, EXECUTIONS, ONE_BY_ONE)


def batch(product: RunningProduct) -> Costs:
    return _executions(product, BATCHED, BATCH)


def submission(product: RunningProduct) -> Costs:
    found = product.round(THREE_STEPS, EXECUTIONS, ONE_BY_ONE, paused=product.workers())
    return _by_group(found.cpu, found.items)


def read(product: RunningProduct) -> Costs:
    """GET of one execution that has ended."""
    task, _ = product.task(THREE_STEPS, READS, ONE_BY_ONE)
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


@dataclass(slots=True)
class Found:
    """The costs of a part by group: of this version and of the other one, one for each round."""

    sides: tuple[dict[str, list[float]], dict[str, list[float]]] = field(default_factory=lambda: ({}, {}))

    def add(self, sides: Sequence[Costs]) -> None:
        for kept, costs in zip(self.sides, sides, strict=True):
            for group, cost in costs.items():
                kept.setdefault(group, []).append(cost)

    def comparison(self, name: str, unit: str, tests: int) -> Comparison:
        """Compare what all groups cost together."""
        ours, theirs = ([sum(each) for each in zip(*side.values(), strict=True)] for side in self.sides)
        return Comparison(name, unit, ours, theirs, tests)


def against(report: Report, commit: str, rounds: int) -> list[Comparison]:
    """Compare the working tree with `commit` in the parts of the report. Raises `VersionError`.

    Each round starts both versions again, because two starts of the same version differ, too.
    """
    other = checkout(commit)
    parts = {name: PARTS[name] for name in report.parts}
    found = {name: Found() for name in parts}
    report.say(f"ours is the working tree, theirs is {revision(commit)}")
    for number in range(rounds):
        with TemporaryDirectory(prefix="coordinator-versions-") as logs:
            _round(report, number, [PROJECT, other], Path(logs), found)
    comparisons = [found[name].comparison(name, part.unit, len(parts)) for name, part in parts.items()]
    for name, part in parts.items():
        if len(found[name].sides[0]) > 1:
            report.console.print(_groups(name, part, found[name]))
    report.console.print(_verdicts(comparisons))
    return comparisons


def documents(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """Return the comparisons as JSON values."""
    return [
        {**asdict(each), "ratio": each.ratio, "interval": each.interval, "verdict": each.verdict}
        for each in comparisons
    ]


def default_rounds(parts: Sequence[str]) -> int:
    return rounds_needed(len(parts))


def _round(report: Report, number: int, checkouts: list[Path], logs: Path, found: dict[str, Found]) -> None:
    began = time.monotonic()
    with running(checkouts, logs) as versions:
        report.say(f"Round {number + 1}: both versions are up after {time.monotonic() - began:.0f} s")
        # The version that is first alternates, too.
        order = [(each + number) % 2 for each in ABBA]
        for name, kept in found.items():
            cost = PARTS[name].cost
            for version in versions:
                cost(version)  # warms up
            sides: tuple[list[Costs], list[Costs]] = [], []
            for index in order:
                sides[index].append(cost(versions[index]))
            kept.add([_mean(costs) for costs in sides])
            ours, theirs = (sum(_mean(costs).values()) for costs in sides)
            report.say(f"{name}: [b]{ours:.3f}[/] : [b]{theirs:.3f}[/] {PARTS[name].unit}, ratio {ours / theirs:.3f}")


def _executions(product: RunningProduct, count: int, mode: SubmissionMode) -> Costs:
    found = product.round(THREE_STEPS, count, mode)
    return _by_group(found.cpu, found.items)


def _by_group(cpu: Mapping[str, float], items: int) -> Costs:
    """Return CPU milliseconds for each item, by group of the product's processes."""
    costs: dict[str, float] = {}
    for process, seconds in cpu.items():
        if process not in {"client", "rest"}:
            group = "worker" if process.startswith("worker") else process
            costs[group] = costs.get(group, 0.0) + seconds / items * 1e3
    return costs


def _mean(costs: Sequence[Costs]) -> Costs:
    return {group: sum(each[group] for each in costs) / len(costs) for group in costs[0]}


def _groups(name: str, part: Part, found: Found) -> Table:
    table = Table(title=f"{name}, {part.unit}, medians", title_justify="left")
    for column in ("processes", "ours", "theirs", "ratio"):
        table.add_column(column, justify="left" if column == "processes" else "right")
    ours, theirs = found.sides
    for group in ours:
        own, other = median(ours[group]), median(theirs[group])
        table.add_row(group, f"{own:.3f}", f"{other:.3f}", f"{own / other:.2f}" if other else "")
    return table


def _verdicts(comparisons: Sequence[Comparison]) -> Table:
    title = f"Ratios, rounds: {len(comparisons[0].ratios)}. The intervals hold together with {CONFIDENCE:.0%}"
    table = Table(title=title, title_justify="left")
    for column in ("measure", "unit", "ours", "theirs", "ratio", "interval", "verdict"):
        table.add_column(column, justify="left" if column in {"measure", "unit", "verdict"} else "right")
    for each in comparisons:
        table.add_row(
            each.name,
            each.unit,
            f"{median(each.ours):.3f}",
            f"{median(each.theirs):.3f}",
            f"{each.ratio:.3f}",
            "{:.3f} to {:.3f}".format(*each.interval) if each.interval else "",
            each.verdict,
        )
    return table
