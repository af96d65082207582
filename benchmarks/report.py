"""The ratios of a run and their targets, as a table on the terminal and a JSON document."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.peer_environment import PeerRound
from benchmarks.running_product import Round

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Measure:
    """The ratio of our median to a peer's, over interleaved rounds. `bar` is the target, or None without one."""

    name: str
    ours: list[float]
    theirs: list[float]
    unit: str
    bar: float | None
    sense: Literal["at least", "at most"] = "at least"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return median(self.ours) / median(self.theirs) if self.ours and self.theirs else None

    @property
    def verdict(self) -> str:
        if self.bar is None or self.ratio is None:
            return "not judged"
        met = self.ratio >= self.bar if self.sense == "at least" else self.ratio <= self.bar
        return "met" if met else "MISSED"


@dataclass(slots=True)
class Report:
    """The results of a run, printed during the run and written to a file at its end."""

    console: Console
    parts: list[str]
    measures: list[Measure] = field(default_factory=list)
    profiles: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{datetime.now(UTC):%H:%M:%S}[/]  {text}", highlight=False)

    def add(self, measure: Measure) -> None:
        self.measures.append(measure)

    def skip(self, part: str, reason: str) -> None:
        self.skipped.append(f"{part}: {reason}")
        self.say(f"[yellow]Skipped[/] {escape(self.skipped[-1])}")

    def fail(self, part: str, error: Exception) -> None:
        """Record that a part has no result. The run fails."""
        self.failed.append(f"{part}: {type(error).__name__}: {error}")
        self.say(f"[red]Failed[/] {escape(self.failed[-1])}")

    def forget(self, name: str) -> None:
        """Drop the rounds so far, which only warmed up the product."""
        self.profiles.pop(name, None)

    def peer_round(self, name: str, round_: PeerRound) -> None:
        """Print a peer's rate and record its profile."""
        self.profiles.setdefault(name, []).append({**asdict(round_), "rate": round_.rate})
        self.say(f"{name}: [b]{round_.rate:,.0f}/s[/] of {round_.items:,} in {round_.seconds:.1f} s")

    def checkpoints_stored(self, name: str) -> float:
        """Return the average number of stored checkpoints per execution."""
        rounds = self.profiles[name]
        return float(
            sum(measured["checkpoints"] for measured in rounds) / sum(measured["items"] for measured in rounds)
        )

    def compare_cpu(self, name: str, ours: str, theirs: str, bar: float | None = None) -> None:
        """Compare items per second of CPU time. This ratio depends less on other users of the machine."""
        if ours in self.profiles and theirs in self.profiles:
            own, other = (_per_cpu_second(self.profiles[side]) for side in (ours, theirs))
            self.add(Measure(f"{name}, by CPU time : {theirs}", own, other, "items/CPU s", bar))

    def round(self, name: str, round_: Round, *, submission_only: bool = False) -> None:
        """Print a round's rate and record its profile. With `submission_only`, both are those of the submission."""
        rate = round_.submission_rate if submission_only else round_.rate
        seconds = round_.items / rate
        self.profiles.setdefault(name, []).append({**asdict(round_), "rate": rate, "seconds": seconds})
        latency = (
            f"responses p50 {round_.client.latency_p50 * 1e3:.1f} ms, p99 {round_.client.latency_p99 * 1e3:.1f} ms"
        )
        self.say(
            f"{name}: [b]{rate:,.0f}/s[/] of {round_.items:,} in {seconds:.1f} s "
            f"(submitted at {round_.submission_rate:,.0f}/s, {latency})"
        )

    def show(self) -> None:
        for name, rounds in self.profiles.items():
            self.console.print(_profile(name, rounds))
        table = Table(title="Ratios within this run", title_justify="left")
        for column in ("measure", "ours", "theirs", "unit", "ratio", "bar", "verdict"):
            table.add_column(column, justify="left" if column in {"measure", "unit", "verdict"} else "right")
        for measure in self.measures:
            table.add_row(*_row(measure))
        if self.measures:
            self.console.print(table)
        for line in self.skipped:
            self.console.print(f"[yellow]Skipped[/] {escape(line)}", highlight=False)
        for line in self.failed:
            self.console.print(f"[red]Failed[/] {escape(line)}", highlight=False)

    def write(self, **more: Any) -> Path:
        """Write the run, with `more` members, to a new file in `benchmarks/results`."""
        RESULTS.mkdir(exist_ok=True)
        at = datetime.now(UTC)
        file = RESULTS / f"{at:%Y%m%dT%H%M%SZ}-{'-'.join(self.parts)}.json"
        document = {
            "at": at.isoformat(),
            "parts": self.parts,
            "machine": machine(),
            "measures": [
                {**asdict(measure), "ratio": measure.ratio, "verdict": measure.verdict} for measure in self.measures
            ],
            "rounds": self.profiles,
            "skipped": self.skipped,
            "failed": self.failed,
            **more,
        }
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return file


def machine() -> dict[str, Any]:
    """Return the properties of the machine and the code that are needed to repeat the run."""
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "revision": revision.stdout.strip(),
        "load": os.getloadavg()[0],
    }


def _row(measure: Measure) -> tuple[str, ...]:
    bar = "" if measure.bar is None else f"{'≥' if measure.sense == 'at least' else '≤'} {measure.bar:g}"
    colour = {"met": "green", "MISSED": "red"}.get(measure.verdict, "dim")
    return (
        measure.name + (f"\n[dim]{measure.note}[/]" if measure.note else ""),
        _median(measure.ours),
        _median(measure.theirs),
        measure.unit,
        "" if measure.ratio is None else f"{measure.ratio:.2f}",
        bar,
        f"[{colour}]{measure.verdict}[/]",
    )


def _median(values: list[float]) -> str:
    return f"{median(values):,.4g}" if values and median(values) < 1000 else f"{median(values):,.0f}" if values else ""


def _profile(name: str, rounds: list[dict[str, Any]]) -> Table:
    """Return a table of CPU microseconds per item and the share of one core, by process."""
    items = sum(measured["items"] for measured in rounds)
    seconds = sum(measured["seconds"] for measured in rounds)
    cpu_seconds: dict[str, float] = {}
    for measured in rounds:
        cpu: Mapping[str, float] = measured["cpu"]
        for process, used in cpu.items():
            cpu_seconds[process] = cpu_seconds.get(process, 0.0) + used
    table = Table(title=f"{name}: {len(rounds)} rounds, {items:,} items", title_justify="left")
    table.add_column("process")
    table.add_column("CPU µs/item", justify="right", min_width=12)
    table.add_column("of one core", justify="right")
    for process, used in sorted(cpu_seconds.items(), key=lambda pair: -pair[1]):
        table.add_row(process, f"{used / items * 1e6:,.0f}", f"{used / seconds:.0%}")
    ours = sum(used for process, used in cpu_seconds.items() if process != "rest")
    table.add_section()
    table.add_row("all but the rest", f"{ours / items * 1e6:,.0f}", f"{ours / seconds:.0%}")
    if "writes" in rounds[0]:
        writes = sum(measured["writes"] for measured in rounds) / items
        wal = sum(measured["wal_bytes"] for measured in rounds) / items
        table.add_row("writing transactions", f"{writes:.2f}")
        table.add_row("bytes of WAL", f"{wal:,.0f}")
        table.add_row("checkpoints stored", f"{sum(measured['checkpoints'] for measured in rounds) / items:.2f}")
    return table


def _per_cpu_second(rounds: list[dict[str, Any]]) -> list[float]:
    return [
        measured["items"] / sum(used for process, used in measured["cpu"].items() if process != "rest")
        for measured in rounds
    ]
