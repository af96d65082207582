"""The gate of an activation that asks for approvals, and compares an approved request with what it was made on."""

from releases.activation.gates import Gate, Switch, met, unmet, warning
from releases.activation.requests import snapshot
from releases.activation.rollback import was_active_lately
from releases.errors import ApprovalRequired, OverrideNotAllowed, RequestOutdated
from releases.models import ActivationRequest, GradualActivation, Kind, Vote

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
    if switch.kind == Kind.PROMOTION and _approved_with_start(switch):
        return met(NAME, "Approved with the start.")
    people = f"{policy.approvals} other {'person' if policy.approvals == 1 else 'people'}"
    return unmet(
        NAME,
        ApprovalRequired(
            f"{people} must approve the activation of release {switch.release.release_version!r}. Request it.",
            approvals=policy.approvals,
        ),
    )


def _approved_with_start(switch: Switch) -> bool:
    """Return True if an approved request started the running gradual activation, under no weaker policy."""
    return switch.pipeline.activations.filter(
        gradual__status=GradualActivation.Status.RUNNING,
        gradual__candidate=switch.release,
        request__policy__approvals__gte=switch.pipeline.approvals,
    ).exists()


def _of_request(switch: Switch, request: ActivationRequest) -> Gate:
    changes = snapshot.moved(request, switch.pipeline)
    if changes:
        refusal = RequestOutdated(
            f"The request is outdated: {snapshot.described(changes)}", moved=[each.to_json() for each in changes]
        )
        return unmet(NAME, refusal)
    names = [vote.actor for vote in request.counted_votes if vote.decision == Vote.Decision.APPROVE]
    return met(NAME, f"Approved by {', '.join(names)}." if names else "The policy requires no approvals.")
