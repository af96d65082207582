"""The plan of a gradual activation: its steps, groups and bounds, and the routing of executions.

Pure. A routing key has a fixed bucket, and a share covers the buckets below a limit. So equal keys get the same release
while the share stays the same, and a greater share keeps every key that has the candidate already.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Self

from releases.errors import GradualActivationInvalid

MOST_STEPS = 20
SHARES = (0.0, 100.0)
SAMPLES = (20, 1000)
"""Limits of a minimum sample. The comparison of durations needs 20, and looks at 1,000 executions of each release."""
MINUTES = (0, 7 * 24 * 60)
MOST_NAMES = 20
LONGEST_NAME = 100
POINTS = (0.0, 100.0)
FACTORS = (1.0, 100.0)
SIGNIFICANCES = (0.000001, 0.05)


@dataclass(frozen=True, slots=True)
class Step:
    """A share of the candidate in percent. The next step follows after the minimum sample and the minimum time."""

    share: float
    minimum_sample: int
    minimum_minutes: int

    @property
    def hundredths(self) -> int:
        """The share in hundredths of a percent."""
        return round(self.share * 100)

    @property
    def decimal(self) -> Decimal:
        return Decimal(self.hundredths) / 100


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much worse the candidate may be than the baseline, and how small the probability of chance must be.

    The failure rate may be higher by `failure_percentage_points`, and the median duration by `duration_factor`.
    """

    failure_percentage_points: float = 5.0
    duration_factor: float = 1.5
    significance: float = 0.001


@dataclass(frozen=True, slots=True)
class Plan:
    """A valid plan. `tags` and `tokens` name the groups whose executions all get the candidate."""

    steps: tuple[Step, ...]
    tags: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    bounds: Bounds = Bounds()

    def __post_init__(self) -> None:
        """Raise `GradualActivationInvalid` with all errors."""
        errors = [{"field": field, "code": "GRADUAL_ACTIVATION", "message": rule} for field, rule in _wrong(self)]
        if errors:
            detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors)
            raise GradualActivationInvalid(detail, errors=errors)

    @classmethod
    def from_json(
        cls, steps: Sequence[Mapping[str, Any]], groups: Mapping[str, Any], bounds: Mapping[str, Any]
    ) -> Self:
        """Read what `columns` returns, or a request with the same members."""
        default = Bounds()
        return cls(
            tuple(Step(step["share"], step["minimumSample"], step["minimumMinutes"]) for step in steps),
            tuple(groups.get("tags", ())),
            tuple(groups.get("tokens", ())),
            Bounds(
                bounds.get("failurePercentagePoints", default.failure_percentage_points),
                bounds.get("durationFactor", default.duration_factor),
                bounds.get("significance", default.significance),
            ),
        )

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a gradual activation with this plan."""
        return {
            "steps": [
                {
                    "share": float(step.decimal),
                    "minimumSample": step.minimum_sample,
                    "minimumMinutes": step.minimum_minutes,
                }
                for step in self.steps
            ],
            "groups": {"tags": list(self.tags), "tokens": list(self.tokens)},
            "bounds": {
                "failurePercentagePoints": self.bounds.failure_percentage_points,
                "durationFactor": self.bounds.duration_factor,
                "significance": self.bounds.significance,
            },
        }


def _wrong(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield each field with the rule that it breaks."""
    if not 1 <= len(plan.steps) <= MOST_STEPS:
        yield "steps", f"must have 1 to {MOST_STEPS} steps"
    for index, step in enumerate(plan.steps):
        yield from _wrong_step(f"steps[{index}]", step)
    shares = [step.share for step in plan.steps]
    if any(later <= earlier for earlier, later in pairwise(shares)):
        yield "steps", "must have growing shares"
    if shares[-1:] == [0] and not plan.tags and not plan.tokens:
        yield "steps", "must have a share above 0, or groups"
    for name, names in (("tags", plan.tags), ("tokens", plan.tokens)):
        if len(names) > MOST_NAMES or any(not 0 < len(name) <= LONGEST_NAME for name in names):
            yield f"groups.{name}", f"must be at most {MOST_NAMES} names of 1 to {LONGEST_NAME} characters"
    bounds = plan.bounds
    yield from _outside("bounds.failurePercentagePoints", bounds.failure_percentage_points, POINTS)
    yield from _outside("bounds.durationFactor", bounds.duration_factor, FACTORS)
    yield from _outside("bounds.significance", bounds.significance, SIGNIFICANCES)


def _wrong_step(field: str, step: Step) -> Iterator[tuple[str, str]]:
    yield from _outside(f"{field}.share", step.share, SHARES)
    if SHARES[0] <= step.share <= SHARES[1] and abs(step.share * 100 - step.hundredths) > 1e-9:
        yield f"{field}.share", "must have at most two decimal places"
    yield from _outside(f"{field}.minimumSample", step.minimum_sample, SAMPLES)
    yield from _outside(f"{field}.minimumMinutes", step.minimum_minutes, MINUTES)


def _outside(field: str, value: float, limits: tuple[float, float]) -> Iterator[tuple[str, str]]:
    if not limits[0] <= value <= limits[1]:
        yield field, f"must be from {limits[0]:g} to {limits[1]:g}"
