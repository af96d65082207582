"""The statistics against published examples, and against the distributions that they stand for."""

import math
from itertools import combinations
from statistics import mean, pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.gradual.statistics import fisher_exact, greater_pairs, mann_whitney

WAFERS_A = [0.55, 0.67, 0.43, 0.51, 0.48, 0.60, 0.71, 0.53, 0.44, 0.65, 0.75]
WAFERS_B = [0.49, 0.68, 0.59, 0.72, 0.67, 0.75, 0.65, 0.77, 0.62, 0.48, 0.59]
"""Particle counts of two processing systems: NIST/SEMATECH e-Handbook, 7.3.5."""


def test_published_examples_of_failures() -> None:
    """Fisher, The Design of Experiments (3 of 4 cups right by chance); The Logic of Inductive Inference (twins)."""
    assert fisher_exact(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert fisher_exact(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher_exact(10, 13, 2, 17) == pytest.approx(619 / 1_330_665)
    assert fisher_exact(1000, 1000, 0, 1000) == pytest.approx(1 / math.comb(2000, 1000))


def test_rates_that_are_equal_or_better_are_no_evidence() -> None:
    assert fisher_exact(0, 50, 0, 50) == 1
    assert fisher_exact(0, 50, 10, 50) == 1
    assert fisher_exact(5, 50, 50, 500) > 0.5


@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 30))
def test_a_failure_more_is_never_less_evidence(failed: int, ended: int, before: int, baseline: int) -> None:
    failed, before = min(failed, ended), min(before, baseline)
    p = fisher_exact(failed, ended, before, baseline)
    assert 0 < p <= 1
    if failed < ended:
        assert fisher_exact(failed + 1, ended, before, baseline) < p or before == baseline


def test_particle_counts() -> None:
    """The handbook gives the rank sums 106 and 147, so U is 40 and 81, and z = 1.346133 without corrections."""
    u, _ = greater_pairs(WAFERS_A, WAFERS_B)
    assert u == 40
    assert greater_pairs(WAFERS_B, WAFERS_A)[0] == 81
    assert (60.5 - u) / math.sqrt(11 * 11 * 23 / 12) == pytest.approx(1.346133, abs=1e-6)


def test_ages_of_diabetics() -> None:
    """The example of SciPy's `mannwhitneyu`: U = 17, and 0.11134688653314041 two-sided, with the normal approximation.

    It has no ties, so the two-sided value is twice the one-sided one.
    """
    men, women = [19, 22, 16, 29, 24], [20, 11, 17, 12]
    assert greater_pairs(men, women) == (17, 0)
    assert 2 * mann_whitney(men, women) == pytest.approx(0.11134688653314041)


def test_the_variance_with_ties_is_that_of_all_arrangements() -> None:
    values, first = [1, 1, 1, 2, 2, 3, 5, 5, 8], 4
    found = []
    for chosen in combinations(range(len(values)), first):
        sample = [values[place] for place in chosen]
        rest = [values[place] for place in range(len(values)) if place not in chosen]
        u, ties = greater_pairs(sample, rest)
        found.append(u)
    second, total = len(values) - first, len(values)
    assert mean(found) == first * second / 2
    assert pvariance(found) == pytest.approx(first * second / 12 * (total + 1 - ties / (total * (total - 1))))


def test_equal_values_are_no_evidence() -> None:
    assert mann_whitney([1.0] * 30, [1.0] * 30) == 1
    assert mann_whitney([1.0] * 30, [2.0] * 30) == pytest.approx(1)
    assert mann_whitney([], []) == 1


def test_slower_values_are_evidence() -> None:
    slow, fast = [10 + each / 7 for each in range(30)], [1 + each / 11 for each in range(30)]
    assert mann_whitney(slow, fast) < 1e-10
    assert mann_whitney(fast, slow) > 1 - 1e-10


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_every_pair_counts_once(sample: list[int], baseline: list[int]) -> None:
    u, _ = greater_pairs(sample, baseline)
    expected = sum((one > other) + (one == other) / 2 for one in sample for other in baseline)
    assert u == expected
    assert u + greater_pairs(baseline, sample)[0] == len(sample) * len(baseline)
    assert 0 <= mann_whitney(sample, baseline) <= 1
