"""The statistics against published examples, and against the distributions that they stand for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.gradual.statistics import fisher_exact, greater_pairs, mann_whitney

"""Particle counts of two processing systems: NIST/SEMATECH e-Handbook, 7.3.5."""


def test_published_examples_of_failures() -> None:
    """Fisher, The Design of Experiments (3 of 4 cups right by chance); The Logic of Inductive Inference (twins)."""
    assert fisher_exact(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert fisher_exact(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher_exact(10, 13, 2, 17) == pytest.approx(619 / 1_330_665)
    assert fisher_exact(1000, 1000, 0, 1000) == pytest.approx(1 / math.comb(2000, 1000))


def test_ages_of_diabetics() -> None:
    """The example of SciPy's `mannwhitneyu`: U = 17, and 0.11134688653314041 two-sided, with the normal approximation.

    It has no ties, so the two-sided value is twice the one-sided one.
    """
    men, women = [19, 22, 16, 29, 24], [20, 11, 17, 12]
    assert greater_pairs(men, women) == (17, 0)
    assert 2 * mann_whitney(men, women) == pytest.approx(0.11134688653314041)


def test_equal_values_are_no_evidence() -> None:
    assert mann_whitney([1.0] * 30, [1.0] * 30) == 1
    assert mann_whitney([1.0] * 30, [2.0] * 30) == pytest.approx(1)
    assert mann_whitney([2.0] * 30, [1.0] * 30) < 1e-10
    assert mann_whitney([], []) == 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_every_pair_counts_once(sample: list[int], baseline: list[int]) -> None:
    u, _ = greater_pairs(sample, baseline)
    expected = sum((one > other) + (one == other) / 2 for one in sample for other in baseline)
    assert u == expected
    assert u + greater_pairs(baseline, sample)[0] == len(sample) * len(baseline)
    assert 0 <= mann_whitney(sample, baseline) <= 1
