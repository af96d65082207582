"""The printed report of a campaign: its figures and its verdict."""

from collections import Counter
from dataclasses import dataclass

from tests.parts.recovery.history import History

MOST_FAULTS = 20


@dataclass(frozen=True)
class Report:
    """`runs` counts runs of steps, `needed_runs` those required. `failed_requests` counts why clients repeated."""

    seed: int
    seconds: float
    histories: list[History]
    runs: int
    needed_runs: int
    strikes: Counter[str]
    failed_requests: Counter[str]
    faults: list[str]

    def count(self, kind: str) -> int:
        return sum(history.count(kind) for history in self.histories)

    @property
    def slowest(self) -> float:
        """Seconds from submission to end."""
        ended = [(each.finished_at - each.created_at).total_seconds() for each in self.histories if each.finished_at]
        return max(ended, default=0.0)

    def __str__(self) -> str:
        statuses = Counter(each.status for each in self.histories)
        releases = Counter(each.pin[2] for each in self.histories)
        rows = {
            "seed": self.seed,
            "executions": f"{len(self.histories)} ({_counts(statuses)}; {_counts(releases)})",
            "strikes": f"{sum(self.strikes.values())} ({_counts(self.strikes)})",
            "takeovers": self.count("LEASE_EXPIRED"),
            "late outcomes dropped": self.count("OUTCOME_DROPPED"),
            "rejected by the broker": self.count("DISPATCH_FAILED"),
            "retries": self.count("RETRY_SCHEDULED"),
            "steps": f"{self.needed_runs} recorded, {self.runs} ran",
            "requests repeated": f"{sum(self.failed_requests.values())} ({_counts(self.failed_requests)})",
            "duration": f"{self.seconds:.1f} s",
            "throughput": f"{len(self.histories) / self.seconds:.1f} executions per second",
            "slowest execution": f"{self.slowest:.1f} s",
        }
        lines = [f"{name + ':':25}{value}" for name, value in rows.items()]
        verdict = "no execution was lost, and nothing happened twice"
        if self.faults:
            lines_of_faults = [*self.faults[:MOST_FAULTS], *["…"] * (len(self.faults) > MOST_FAULTS)]
            verdict = f"{len(self.faults)} FAULTS\n" + "\n".join(lines_of_faults)
        return "\n".join([*lines, f"{'verdict:':25}{verdict}"])


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
