"""The gate of an activation that asks for approvals, and compares an approved request with what it was made on."""

from governance.activation.gate import Gate, Switch, met, unmet, warning
from governance.gradual import operations
from governance.requests import states
from releases.errors import ApprovalRequired, OverrideNotAllowed, RequestOutdated
from releases.history import was_active_lately
from releases.models import ActivationRequest, Kind
from releases.pointer import approval_required

NAME = "approval"


def gate(switch: Switch) -> Gate | None:
    """Return whether the activation has the approvals that the policy requires, or needs none."""
    policy, request = switch.pipeline, switch.request
    if switch.override and not policy.emergency_override:
        refusal = OverrideNotAllowed(f"The policy of pipeline {policy.pipeline_id!r} allows no emergency override.")
        return unmet(NAME, refusal)
    if request is not None:
        return _of_request(switch, request)
    if not policy.approvals:
        return None
    if switch.override:
        return warning(NAME, "An emergency override does without the approvals that the policy requires.")
    if switch.kind == Kind.ROLLBACK and was_active_lately(policy, switch.release):
        days = policy.rollback_days
        return met(NAME, f"A rollback to a release that was active in the last {days} days needs no approval.")
    if switch.kind == Kind.PROMOTION and operations.approved_with_start(policy, switch.release):
        return met(NAME, "Approved with the start.")
    return unmet(NAME, approval_required(policy, switch.release))


def _of_request(switch: Switch, request: ActivationRequest) -> Gate:
    changes = states.moved(request, switch.pipeline)
    if changes:
        refusal = RequestOutdated(
            f"The request is outdated: {states.described(changes)}", moved=[each.to_json() for each in changes]
        )
        return unmet(NAME, refusal)
    names = [vote.actor for vote in states.approvals(request)]
    if len(names) < request.policy["approvals"]:
        return unmet(NAME, _voters_left(request, names))
    return met(NAME, f"Approved by {', '.join(names)}." if names else "The policy requires no approvals.")


def _voters_left(request: ActivationRequest, names: list[str]) -> ApprovalRequired:
    needed = request.policy["approvals"]
    detail = f"{needed} people must have approved it, and {len(names)} of those who did may still vote."
    return ApprovalRequired(detail, approvals=needed)
