"""What a voter sees before the vote: what an activation request would do now, and what changed since it was made."""

from dataclasses import dataclass, replace
from typing import Any

from django.utils import timezone

from foundation.errors import CoordinatorError
from governance.activation import activation, gates
from governance.gradual.changes import require_startable
from governance.reports.preflight import Preflight, preflight_of
from governance.requests import states
from releases.models import ActivationRequest, Kind, Vote
from releases.states import UNDECIDED


@dataclass(frozen=True, slots=True)
class Review:
    """An undecided request as it is now.

    `preflight` judges the activation as if the request had its approvals. `moved` is what a vote would begin a new
    round for. `approvals` are the votes that count.
    """

    request: ActivationRequest
    preflight: Preflight
    moved: list[dict[str, Any]]
    approvals: list[Vote]

    @property
    def missing(self) -> int:
        """How many approvals the request still needs."""
        return max(self.request.approvals_needed - len(self.approvals), 0)

    @property
    def is_due(self) -> bool:
        """True if nothing but approvals delays the activation."""
        return self.request.activate_at is None or self.request.activate_at <= timezone.now()

    @property
    def decides(self) -> bool:
        """True if the next approval is the last one that the request needs."""
        return not self.moved and self.missing <= 1

    @property
    def would_fail(self) -> bool:
        """True if the request would fail as soon as the next vote approves it."""
        return self.decides and self.is_due and not self.preflight.is_allowed


def review(request: ActivationRequest) -> Review:
    """Return what carrying out `request` would do now. Changes nothing and takes no locks.

    Raises `RequestNotOpen` if it is decided.
    """
    if request.status not in UNDECIDED:
        raise states.not_open(request)
    switch = activation.previewed(request.release)
    if request.plan is not None:
        switch = replace(switch, kind=Kind.GRADUAL)
    judged = [gate for gate in gates.judge(switch) if gate.name != gates.APPROVAL]
    report = preflight_of(switch, judged)
    if request.plan is not None:
        report.refusals.extend(_not_startable(switch))
    if (refusal := states.requester_refusal(request)) is not None:
        report.refusals.append(refusal)
    moved = states.moved(request, switch.pipeline)
    return Review(request, report, moved, states.approvals(request))


def _not_startable(switch: gates.Switch) -> list[CoordinatorError]:
    try:
        require_startable(switch.pipeline, switch.release, None)
    except CoordinatorError as refusal:
        return [refusal]
    return []
