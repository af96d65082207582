"""What the executions of a candidate and of its baseline show.

The app of executions, which is above this one, adds the source.
"""

from collections.abc import Callable
from dataclasses import dataclass

from releases.models import GradualActivation


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest executions of one release. `timed` are those that succeeded and whose duration is comparable."""

    ended: int
    failed: int
    timed: int
    median_seconds: float | None

    @property
    def failure_rate(self) -> float:
        """The failures in percent; 0 if none has ended."""
        return 100 * self.failed / self.ended if self.ended else 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Both samples, and the probabilities of such differences by chance if the candidate is not worse.

    `crossed` is the bound that the candidate crosses, or None. A probability is None if the samples are too small.
    """

    candidate: Sample
    baseline: Sample
    failure_probability: float | None
    duration_probability: float | None
    crossed: GradualActivation.Cause | None = None


sources: list[Callable[[GradualActivation], Evidence]] = []


def of(gradual: GradualActivation) -> Evidence | None:
    """Return the evidence of the current step. None without a source."""
    return next((source(gradual) for source in sources), None)
