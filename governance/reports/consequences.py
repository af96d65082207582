"""Answers what the end of a release, its revocation or its retirement, would hit now. Changes nothing."""

from dataclasses import dataclass

from executions.inspection.callers import Caller, callers_of
from executions.schedules import schedules
from governance.reports.preflight import open_questions
from governance.retirement.retirement import Blocker, Kind, blockers
from releases.models import Release

OPEN = {Kind.QUEUED, Kind.RUNNING, Kind.RETRYING, Kind.WAITING}
"""The kinds of open executions."""


@dataclass(frozen=True, slots=True)
class Consequences:
    """What depends on a release.

    `needs` is what blocks a retirement, and `questions` how many questions of its executions are open. `callers` made
    its recent executions. `schedules` are the names of those that would submit to it.
    """

    release: Release
    needs: list[Blocker]
    questions: int
    callers: list[Caller]
    schedules: list[str]

    @property
    def open(self) -> int:
        """How many executions of the release are open, each kind counted as `blockers` counts it."""
        return sum(need.count for need in self.needs if need.kind in OPEN)

    @property
    def is_active(self) -> bool:
        return any(need.kind is Kind.ACTIVE for need in self.needs)


def consequences(release: Release) -> Consequences:
    """Return what the end of `release` would hit now."""
    needs = blockers(release)
    is_active = any(need.kind is Kind.ACTIVE for need in needs)
    scheduled = schedules.submitting_to(release, is_active=is_active)
    return Consequences(release, needs, open_questions(release), callers_of(release), scheduled)
