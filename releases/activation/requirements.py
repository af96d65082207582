"""What activations and the operations on gradual activations require."""

from releases.errors import ActiveReleaseChanged, ApprovalRequired, ReasonRequired, ReleaseNotRegistered
from releases.models import Activation, Kind, Pipeline, Release
from releases.states import Status


def require_registered(release: Release) -> None:
    if release.status != Status.REGISTERED:
        raise ReleaseNotRegistered(
            f"Release {release.release_version!r} is {release.status}.", releaseStatus=release.status
        )


def require_reason(pipeline: Pipeline, reason: str, kind: Kind = Kind.ACTIVATION, *, override: bool = False) -> None:
    """Raise `ReasonRequired` if the reason is blank although the kind of activation or the policy requires one.

    An override requires one, too.
    """
    if reason.strip():
        return
    if override:
        raise ReasonRequired("An emergency override requires a reason.")
    if kind in {Kind.ROLLBACK, Kind.WITHDRAWAL}:
        raise ReasonRequired(f"A {kind.value} requires a reason.")
    if pipeline.reason_required:
        raise ReasonRequired(f"The policy of pipeline {pipeline.pipeline_id!r} requires a reason.")


def require_expected(newest: Activation | None, expected: str | None) -> None:
    """Raise `ActiveReleaseChanged` unless `expected` is None or the active release, or "" if none is active."""
    active = newest.release.release_version if newest else ""
    if expected is not None and expected != active:
        raise ActiveReleaseChanged(
            f"The expected active release is {expected or 'none'!r}, but the active release is {active or 'none'!r}.",
            activeReleaseVersion=active or None,
        )


def approval_required(pipeline: Pipeline, release: Release) -> ApprovalRequired:
    """Return the refusal of an activation of `release` that lacks the approvals of the policy."""
    people = f"{pipeline.approvals} other {'person' if pipeline.approvals == 1 else 'people'}"
    return ApprovalRequired(
        f"{people} must approve the activation of release {release.release_version!r}. Request it.",
        approvals=pipeline.approvals,
    )
