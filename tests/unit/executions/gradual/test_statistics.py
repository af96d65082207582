"""The statistics against published examples, and against the distributions that they stand for."""

import math

import pytest

from executions.gradual.statistics import fisher_exact, mann_whitney


def test_published_examples_of_failures() -> None:
    """Fisher, The Design of Experiments (3 of 4 cups right by chance); The Logic of Inductive Inference (twins)."""
    assert fisher_exact(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert fisher_exact(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher_exact(10, 13, 2, 17) == pytest.approx(619 / 1_330_665)
    assert fisher_exact(1000, 1000, 0, 1000) == pytest.approx(1 / math.comb(2000, 1000))


def test_equal_values_are_no_evidence() -> None:
    assert mann_whitney([1.0] * 30, [1.0] * 30) == 1
    assert mann_whitney([1.0] * 30, [2.0] * 30) == pytest.approx(1)
    assert mann_whitney([2.0] * 30, [1.0] * 30) < 1e-10
    assert mann_whitney([], []) == 1
