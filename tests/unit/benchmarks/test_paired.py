"""Confidence intervals of paired ratios, and verdicts."""

import itertools

from benchmarks.paired import Comparison, interval, rounds_needed, verdict
from tests.cases import cases

EIGHT = [1.04, 1.01, 1.08, 1.02, 1.06, 1.03, 1.07, 1.05]


@cases(
    ("ratios", "confidence", "expected"),
    [
        ([], 0.95, None),  # no rounds
        (EIGHT[:5], 0.95, None),  # five rounds: 94 % at most
        (EIGHT[:6], 0.95, (1.01, 1.08)),  # six rounds: all, 97 %
        (EIGHT, 0.99, (1.01, 1.08)),  # eight rounds: all, 99.2 %
        (EIGHT, 0.9, (1.02, 1.07)),  # eight rounds: all but the outermost, 93 %
        ([*EIGHT, 9.0], 0.95, (1.02, 1.08)),  # nine rounds: one outlier has no effect
    ],
)
def test_the_interval_is_the_one_of_the_sign_test(
    ratios: list[float], confidence: float, expected: tuple[float, float] | None
) -> None:
    assert interval(ratios, confidence) == expected


@cases(("rounds", "confidence"), [(6, 0.95), (9, 0.95), (12, 0.95), (12, 0.99)])
def test_the_interval_holds_as_often_as_it_says(rounds: int, confidence: float) -> None:
    """Every combination of rounds below and above a true median of 1 is equally probable."""
    intervals = [interval(ratios, confidence) for ratios in itertools.product((0.9, 1.1), repeat=rounds)]
    held = [found is not None and found[0] < 1 < found[1] for found in intervals]
    assert confidence <= sum(held) / len(held) < 1


@cases(
    ("interval", "expected"),
    [
        ((0.91, 0.99), "faster"),
        ((1.01, 1.09), "slower"),
        ((0.97, 1.01), "same within 3.0%"),
        ((0.998, 1.024), "same within 2.4%"),
        ((1.0, 1.05), "same within 5.0%"),
        ((0.95, 1.0), "same within 5.0%"),
        (None, "too few rounds"),
    ],
)
def test_a_verdict_needs_an_interval_without_1(interval: tuple[float, float] | None, expected: str) -> None:
    assert verdict(interval) == expected


@cases(("tests", "rounds"), [(1, 6), (2, 7), (5, 8)])
def test_more_measures_need_more_rounds(tests: int, rounds: int) -> None:
    def compared(rounds: int) -> Comparison:
        return Comparison("batch", "ms", ours=[1.0] * rounds, theirs=[2.0] * rounds, tests=tests)

    assert rounds_needed(tests) == rounds
    assert compared(rounds - 1).verdict == "too few rounds"
    assert (compared(rounds).ratio, compared(rounds).verdict) == (0.5, "faster")
