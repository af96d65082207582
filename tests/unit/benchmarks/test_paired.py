"""Confidence intervals of paired ratios, and verdicts."""

import itertools

from benchmarks.paired import Comparison, interval, verdict

EIGHT = [1.04, 1.01, 1.08, 1.02, 1.06, 1.03, 1.07, 1.05]


def test_the_interval_is_that_of_the_sign_test_and_holds_as_often_as_it_says() -> None:
    assert interval(EIGHT[:5], 0.95) is None
    assert interval(EIGHT, 0.99) == (1.01, 1.08)
    assert interval(EIGHT, 0.9) == (1.02, 1.07)
    intervals = [interval(ratios, 0.95) for ratios in itertools.product((0.9, 1.1), repeat=9)]
    held = [found is not None and found[0] < 1 < found[1] for found in intervals]
    assert 0.95 <= sum(held) / len(held) < 1


def test_a_verdict_needs_an_interval_without_1_and_enough_rounds() -> None:
    assert [verdict(each) for each in ((0.91, 0.99), (1.01, 1.09), (1.0, 1.05), None)] == [
        "faster",
        "slower",
        "same within 5.0%",
        "too few rounds",
    ]
    few, enough = (
        Comparison("batch", "ms", ours=[1.0] * rounds, theirs=[2.0] * rounds, tests=5).verdict for rounds in (7, 8)
    )
    assert (few, enough) == ("too few rounds", "faster")
