"""Activates a release for the new executions of its pipeline.

The row lock of the pipeline serialises its activations. Their sequence defines the order. Existing executions keep
their release.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db import transaction

from executions.workers import eligibility
from foundation.plurals import counted
from governance.activation import gates
from governance.activation.gates import Switch, Verdict
from governance.gradual import changes
from governance.gradual.evidence import missing_before_activation
from governance.gradual.operations import key_reused
from governance.requests import states
from releases import pointer, queries
from releases.artifacts.soundness import require_verified
from releases.errors import NoRollback, NothingToRollBackTo, OperationKeyReused, ReasonRequired, RollbackTooFar
from releases.models import Activation, ActivationRequest, Kind, Pipeline, Release
from releases.pointer import require_expected, require_reason, require_registered, was_active_lately
from releases.states import RequestStatus
from releases.trust import trust
from tenancy import audit
from tenancy.audit.acts import Act

log = logging.getLogger(__name__)


Rule = Callable[[Pipeline, Kind], None]
"""Is called under the lock of the pipeline, with what the activation is. Raises an error to reject it."""


def kind_of(release: Release, active: Release | None) -> Kind:
    """Return what an activation of `release` that replaces `active` is. It is certain under the lock of the pipeline.

    It is a rollback if the release was active before and is not active now.
    """
    returns = active is not None and active.pk != release.pk and release.activations.exists()
    return Kind.ROLLBACK if returns else Kind.ACTIVATION


def planned(release: Release, request: ActivationRequest | None = None, *, override: bool = False) -> Switch:
    """Return the activation of `release` by the current policy and history of its pipeline."""
    pipeline = queries.pipeline(release.pipeline.tenant, release.pipeline.pipeline_id)
    active = pipeline.active_release
    return Switch(release, pipeline, kind_of(release, active), request=request, override=override)


def previewed(release: Release) -> Switch:
    """Return the planned activation with the signatures, for pages that judge its gates and compare the releases."""
    switch = planned(release)
    active = [switch.pipeline.activation.release] if switch.pipeline.activation else []
    return replace(switch, signers=trust.signers_by_release([release, *active]))


@audit.denials(Act.RELEASE_ACTIVATE, *gates.REFUSALS, of=Release.audited)
def activate(
    release: Release,
    *,
    actor: str,
    reason: str = "",
    expected_release_version: str | None = None,
    operation_key: str | None = None,
    rule: Rule | None = None,
    override: bool = False,
    request: ActivationRequest | None = None,
) -> Activation:
    """Make `release` active for new executions and return the activation.

    A repeated call with the same `operation_key` returns the first activation. With `expected_release_version`, the
    call fails unless that release is active, or none if it is "". Activating the active release again adds an
    activation. A rollback requires a reason, and so does an `override`, which does without approvals. `request` is the
    approved request that the call carries out; a repeated call for it returns its activation. A gradual activation that
    is running ends: as PROMOTED if `release` is its candidate, and as REPLACED otherwise. The candidate needs a reason
    unless its evidence has all that the plan asks for.

    Raises `ReleaseNotRegistered`, `ReasonRequired`, `ArtifactMissing`, `ArtifactAltered`, `ArtifactStoreUnavailable`,
    `ActiveReleaseChanged`, `OperationKeyReused`, the refusal of a gate (see `gates`), and what `rule` raises.
    """
    earlier = _earlier(release, operation_key, request)
    if earlier is not None:
        return earlier
    require_registered(release)
    require_reason(release.pipeline, reason, override=override)
    gates.require_met(planned(release, request, override=override))
    require_verified(release)
    with transaction.atomic():
        pipeline = pointer.locked(release.pipeline_id)
        # Only under the lock are all earlier activations visible.
        earlier = _earlier(release, operation_key, request)
        if earlier is not None:
            return earlier
        release.refresh_from_db(fields=("status",))
        require_registered(release)
        newest = pipeline.activation
        require_expected(newest, expected_release_version)
        kind = kind_of(release, newest.release if newest else None)
        require_reason(pipeline, reason, kind, override=override)
        if rule is not None:
            rule(pipeline, kind)
        if request is not None:
            states.require_approved(request)
        verdicts = gates.require_met(Switch(release, pipeline, kind, binding=True, request=request, override=override))
        missing = missing_before_activation(pipeline, release)
        noted = changes.reason_with_missing(reason, missing)
        ended = changes.replace(pipeline, actor=actor, by=release)
        activation = pointer.append(
            pipeline,
            release,
            kind,
            actor=actor,
            reason=noted,
            operation_key=operation_key,
            override=override,
            request=request,
        )
        if request is not None:
            states.move(request, RequestStatus.ACTIVATED)
        details: dict[str, Any] = {"missingEvidence": missing} if missing else {}
        if ended:
            details[f"{ended.status.lower()}Candidate"] = ended.candidate.release_version
        release.record(
            Act.RELEASE_ACTIVATE,
            actor,
            reason=activation.reason,
            sequence=activation.sequence,
            previous=newest.release.release_version if newest else None,
            kind=activation.kind,
            override=override,
            request=str(request.pk) if request else None,
            **details,
        )
    for gate in verdicts:
        if gate.verdict is Verdict.WARNING:
            log.warning("%s activated %s of %s: %s", actor, release, release.pipeline.tenant, gate.detail)
    return activation


def _earlier(release: Release, operation_key: str | None, request: ActivationRequest | None) -> Activation | None:
    """Return the activation that carried out the request, or that has the operation key.

    Raises `OperationKeyReused` if the operation key belongs to another activation.
    """
    if request is not None:
        return queries.history(release.pipeline).filter(request=request).first()
    if operation_key is None:
        return None
    earlier = queries.history(release.pipeline).filter(operation_key=operation_key).first()
    if earlier is not None and (earlier.release_id != release.pk or earlier.gradual_id is not None):
        raise key_reused(earlier)
    return earlier


def target(pipeline: Pipeline) -> Release | None:
    """Return the release of a rollback in one step, or None.

    It is the release that the active one replaced when it was active for the first time. So the step after a rollback
    goes further back, and never forward to the release that was rolled back.
    """
    if pipeline.activation is None:
        return None
    first = (
        pipeline.activations.filter(release=pipeline.activation.release_id)
        .select_related("previous__contract")
        .earliest("sequence")
    )
    if first.previous is not None:
        first.previous.pipeline = pipeline  # the same row, which is not read again
    return first.previous


def roll_back(
    pipeline: Pipeline,
    *,
    actor: str,
    reason: str,
    release: Release | None = None,
    recent_only: bool,
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> Activation:
    """Make `release` active again, or by default the `target` of the pipeline as it was read. Return the activation.

    With `recent_only`, the release must have been active within the `rollback_days` of the pipeline.
    `expected_release_version` and `operation_key` are those of `activation.activate`; a rollback to the target always
    expects the release that was active when the pipeline was read. Raises `ReasonRequired`, `NothingToRollBackTo`,
    `NoRollback`, `RollbackTooFar` and what `activate` raises.
    """
    if not reason.strip():
        raise ReasonRequired("A rollback requires a reason.")
    if release is None:
        earlier = _earlier_rollback(pipeline, operation_key)
        if earlier is not None:
            return earlier
        release = target(pipeline)
        if release is None or pipeline.activation is None:
            raise NothingToRollBackTo(f"No other release of pipeline {pipeline.pipeline_id!r} was active before.")
        if expected_release_version is None:
            expected_release_version = pipeline.activation.release.release_version

    def rule(locked: Pipeline, kind: Kind) -> None:
        if kind != Kind.ROLLBACK:
            raise NoRollback(f"Release {release.release_version!r} was not active before, or is active now.")
        if recent_only and not was_active_lately(locked, release):
            raise too_far(locked, release)

    made = activate(
        release,
        actor=actor,
        reason=reason,
        expected_release_version=expected_release_version,
        operation_key=operation_key,
        rule=rule,
    )
    return _rollback(made)


def too_far(pipeline: Pipeline, release: Release) -> RollbackTooFar:
    """Return the refusal of a rollback by a caller that may only roll back, to a release that was replaced long ago."""
    return RollbackTooFar(
        f"Release {release.release_version!r} was not active in the last {counted(pipeline.rollback_days, 'day')}.",
        rollBackDays=pipeline.rollback_days,
    )


def warnings(release: Release) -> list[str]:
    """Return what is wrong with a release that is active again: its gates with a warning, and its workers."""
    switch = replace(planned(release), kind=Kind.ROLLBACK)
    judged = [gate.detail for gate in gates.judge(switch) if gate.verdict is not Verdict.MET]
    return [*judged, *eligibility.hosts(release).warnings]


def _earlier_rollback(pipeline: Pipeline, operation_key: str | None) -> Activation | None:
    if operation_key is None:
        return None
    earlier = queries.history(pipeline).filter(operation_key=operation_key).first()
    return None if earlier is None else _rollback(earlier)


def _rollback(earlier: Activation) -> Activation:
    if earlier.kind != Kind.ROLLBACK:
        raise OperationKeyReused(
            f"The operation key belongs to the activation of release {earlier.release.release_version!r}.",
            activeReleaseVersion=earlier.release.release_version,
        )
    return earlier
