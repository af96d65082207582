import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.gradual.evidence import fisher_exact, mann_whitney
from governance.gradual.plan import Bounds, Plan, Step
from releases.errors import GradualActivationInvalid
from releases.pointer import BUCKETS, Routing, bucket
from tests.cases import cases
from tests.raising import error_of

STEP = Step(5, 50, 10)
IDS = st.uuids().map(str)
KEYS = st.text(max_size=200)
LIMITS = st.integers(0, BUCKETS)


@cases(
    ("changes", "expected"),
    [
        ({"steps": ()}, ["steps: must have 1 to 20 steps"]),
        ({"steps": tuple(Step(share, 20, 0) for share in range(1, 22))}, ["steps: must have 1 to 20 steps"]),
        ({"steps": (Step(50, 20, 0), Step(5, 20, 0))}, ["steps: must have growing shares"]),
        ({"steps": (Step(0, 20, 0),)}, ["steps: must have a share above 0, or groups"]),
        ({"steps": (STEP, Step(100.01, 20, 0))}, ["steps[1].share: must be from 0 to 100"]),
        ({"steps": (Step(float("nan"), 20, 0),)}, ["steps[0].share: must be from 0 to 100"]),
        ({"steps": (Step(0.125, 20, 0),)}, ["steps[0].share: must have at most two decimal places"]),
        ({"steps": (Step(5, 19, 0),)}, ["steps[0].minimumSample: must be from 20 to 1000"]),
        ({"steps": (Step(5, 20, 10_081),)}, ["steps[0].minimumMinutes: must be from 0 to 10080"]),
        ({"tags": ("x",) * 21}, ["groups.tags: must be at most 20 names of 1 to 100 characters"]),
        ({"bounds": Bounds(-1)}, ["bounds.failurePercentagePoints: must be from 0 to 100"]),
        ({"bounds": Bounds(duration_factor=0.9)}, ["bounds.durationFactor: must be from 1 to 100"]),
        ({"bounds": Bounds(significance=0.06)}, ["bounds.significance: must be from 1e-06 to 0.05"]),
    ],
)
def test_every_rule_is_named_with_its_field(changes: dict[str, Any], expected: list[str]) -> None:
    refused = error_of(GradualActivationInvalid, Plan, **{"steps": (STEP,), **changes})
    assert refused.code == "GRADUAL_ACTIVATION_INVALID"
    assert [f"{error['field']}: {error['message']}" for error in refused.errors] == expected


def test_a_plan_is_read_as_it_was_stored() -> None:
    plan = Plan((Step(0.5, 20, 0), STEP), ("beta",), ("ci",), Bounds(1, 2, 0.01))
    assert Plan.from_json(**plan.columns) == plan
    assert Plan.from_json(plan.columns["steps"], {}, {}) == Plan(plan.steps)


@given(IDS, KEYS, LIMITS, LIMITS)
def test_a_greater_share_keeps_every_key_of_the_candidate(gradual_id: str, key: str, share: int, other: int) -> None:
    less, more = sorted((share, other))
    assert Routing(gradual_id, less).takes(key) <= Routing(gradual_id, more).takes(key)
    assert 0 <= bucket(gradual_id, key) == bucket(gradual_id, key) < BUCKETS
    assert [Routing(gradual_id, limit).takes(key) for limit in (0, BUCKETS)] == [False, True]


@given(IDS, KEYS)
def test_groups_get_the_candidate_at_any_share(gradual_id: str, key: str) -> None:
    routing = Routing(gradual_id, 0, frozenset({"beta"}), frozenset({"token:ci"}))
    assert routing.takes(key, tags=["other", "beta"])
    assert routing.takes(key, actor="token:ci")
    assert not routing.takes(key, tags=["Beta"], actor="user:ci")


def test_buckets_stay_as_they_are() -> None:
    """Another hash would move callers in the middle of a gradual activation."""
    assert bucket("0f7f4dd8-7a8e-4b0e-9d3f-8a0d1f6f4f11", "order-1") == 3996


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
