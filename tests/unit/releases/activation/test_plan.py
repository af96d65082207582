"""Plans of gradual activations: what is valid, and how they are stored."""

from typing import Any

import pytest

from releases.activation.gradual.plan import Bounds, Plan, Step
from releases.errors import GradualActivationInvalid
from tests.cases import cases

STEP = Step(5, 50, 10)


def errors(**changes: Any) -> list[str]:
    with pytest.raises(GradualActivationInvalid) as caught:
        Plan(**{"steps": (STEP,), **changes})
    assert caught.value.code == "GRADUAL_ACTIVATION_INVALID"
    found = caught.value.errors
    return [f"{each['field']}: {each['message']}" for each in found]


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
    assert errors(**changes) == expected


def test_a_plan_is_read_as_it_was_stored() -> None:
    plan = Plan((Step(0.5, 20, 0), STEP), ("beta",), ("ci",), Bounds(1, 2, 0.01))
    assert Plan.from_json(**plan.columns) == plan
    assert Plan.from_json(plan.columns["steps"], {}, {}) == Plan(plan.steps)
