"""Paired ratios of two versions, their confidence intervals, and what follows from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a measure costs in each round: here, and in the other version. `tests` is the number of measures of the run.

    The intervals of all measures together hold with CONFIDENCE, so that a run with more measures raises no more false
    alarms.
    """

    name: str
    unit: str
    ours: list[float]
    theirs: list[float]
    tests: int = 1

    @property
    def ratios(self) -> list[float]:
        """The ratio of each round. Below 1, this version costs less."""
        return [own / other for own, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def interval(self) -> tuple[float, float] | None:
        return interval(self.ratios, 1 - (1 - CONFIDENCE) / self.tests)

    @property
    def verdict(self) -> str:
        return verdict(self.interval)


def interval(ratios: Sequence[float], confidence: float) -> tuple[float, float] | None:
    """Return a confidence interval of the median of all possible rounds, or None if these rounds are too few.

    This is the interval of the sign test. It makes no assumption about the distribution of the ratios: each round is
    above the true median as often as below it.
    """
    ordered, rounds = sorted(ratios), len(ratios)
    # The true median lies between the k-th smallest and the k-th largest ratio unless fewer than k are on one side.
    k, outside = 0, 2 * 0.5**rounds
    while outside <= 1 - confidence:
        k += 1
        outside += 2 * math.comb(rounds, k) * 0.5**rounds
    return (ordered[k - 1], ordered[-k]) if k else None


def rounds_needed(tests: int) -> int:
    """Return the smallest number of rounds that has an interval for each of `tests` measures."""
    return math.ceil(math.log2(2 * tests / (1 - CONFIDENCE)))


def verdict(interval: tuple[float, float] | None) -> str:
    """Return `faster` or `slower` if 1 is outside the interval, else `same` with the largest difference in it."""
    if interval is None:
        return "too few rounds"
    low, high = interval
    if high < 1:
        return "faster"
    if low > 1:
        return "slower"
    return f"same within {max(1 - low, high - 1):.1%}"
