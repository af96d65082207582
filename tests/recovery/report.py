"""The figures of a campaign and its verdict, for people."""

from collections import Counter
from dataclasses import dataclass

from tests.recovery.history import History

MOST_FAULTS = 20


@dataclass(frozen=True)
class Report:
    """`runs` counts the steps that ran, `needed_runs` those that had to; `unanswered` why clients had to repeat."""

    seed: int
    seconds: float
    histories: list[History]
    runs: int
    needed_runs: int
    strikes: Counter[str]
    unanswered: Counter[str]
    faults: list[str]

    def count(self, kind: str) -> int:
        return sum(history.count(kind) for history in self.histories)

    @property
    def slowest(self) -> float:
        """Seconds from submission to end."""
        ended = [(one.finished_at - one.created_at).total_seconds() for one in self.histories if one.finished_at]
        return max(ended, default=0.0)

    def __str__(self) -> str:
        statuses = Counter(one.status for one in self.histories)
        releases = Counter(one.pin[2] for one in self.histories)
        rows = {
            "seed": self.seed,
            "executions": f"{len(self.histories)} ({_told(statuses)}; {_told(releases)})",
            "strikes": f"{sum(self.strikes.values())} ({_told(self.strikes)})",
            "takeovers": self.count("LEASE_EXPIRED"),
            "late outcomes dropped": self.count("OUTCOME_DROPPED"),
            "not taken by the broker": self.count("DISPATCH_FAILED"),
            "retries": self.count("RETRY_SCHEDULED"),
            "steps": f"{self.needed_runs} recorded, {self.runs} run",
            "requests repeated": f"{sum(self.unanswered.values())} ({_told(self.unanswered)})",
            "duration": f"{self.seconds:.1f} s",
            "throughput": f"{len(self.histories) / self.seconds:.1f} executions a second",
            "slowest execution": f"{self.slowest:.1f} s",
        }
        lines = [f"{name + ':':25}{value}" for name, value in rows.items()]
        verdict = "nothing was lost, and nothing happened twice"
        if self.faults:
            told = [*self.faults[:MOST_FAULTS], *["…"] * (len(self.faults) > MOST_FAULTS)]
            verdict = f"{len(self.faults)} FAULTS\n" + "\n".join(told)
        return "\n".join([*lines, f"{'verdict:':25}{verdict}"])


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
