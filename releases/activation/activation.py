"""Activates a release for the new executions of its pipeline (wire protocol A.6).

The row lock of the pipeline serialises its activations. Their sequence defines the order. Existing executions keep
their release.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.db import transaction

from releases import queries
from releases.activation import gates
from releases.activation.gates import Switch, Verdict
from releases.artifacts.soundness import require_verified
from releases.errors import (
    ActiveReleaseChanged,
    OperationKeyReused,
    ReasonRequired,
    ReleaseNotRegistered,
    SignatureRequired,
    WorkerRequired,
)
from releases.models import Activation, Kind, Pipeline, Release
from releases.states import Status
from tenancy import audit

log = logging.getLogger(__name__)


Rule = Callable[[Pipeline, Kind], None]
"""Is called under the lock of the pipeline, with what the activation is. Raises an error to reject it."""


def kind_of(release: Release, active: Release | None) -> Kind:
    """Return what an activation of `release` that replaces `active` is. It is certain under the lock of the pipeline.

    It is a rollback if the release was active before and is not active now.
    """
    returns = active is not None and active.pk != release.pk and release.activations.exists()
    return Kind.ROLLBACK if returns else Kind.ACTIVATION


def planned(release: Release) -> Switch:
    """Return the activation of `release` by the current policy and history of its pipeline."""
    pipeline = queries.pipeline(release.pipeline.tenant, release.pipeline.pipeline_id)
    active = pipeline.activation.release if pipeline.activation else None
    return Switch(release, pipeline, kind_of(release, active))


def _audited(release: Release, *, actor: str, **_: Any) -> dict[str, Any]:
    tenant, name = release.pipeline.tenant, release.audit_name
    return {"tenant": tenant, "actor": actor, "object_type": "release", "object": name}


@audit.denials("release.activate", ReasonRequired, SignatureRequired, WorkerRequired, of=_audited)
def activate(
    release: Release,
    *,
    actor: str,
    reason: str = "",
    expected_release_version: str | None = None,
    operation_key: str | None = None,
    rule: Rule | None = None,
) -> Activation:
    """Make `release` active for new executions and return the activation.

    A repeated call with the same `operation_key` returns the first activation. With `expected_release_version`, the
    call fails unless that release is active, or none if it is "". Activating the active release again adds an
    activation. A rollback requires a reason. Raises `ReleaseNotRegistered`, `ReasonRequired`, `ArtifactMissing`,
    `ArtifactAltered`, `ArtifactStoreUnavailable`, `ActiveReleaseChanged`, `OperationKeyReused`, the refusal of a gate
    (see `gates`), and what `rule` raises.
    """
    earlier = _earlier(release, operation_key)
    if earlier is not None:
        return earlier
    _require_registered(release)
    _require_reason(release.pipeline, reason)
    gates.require_met(planned(release))
    require_verified(release)
    with transaction.atomic():
        # Without a join: after a wait for the lock, PostgreSQL re-reads the locked row, but not the joined rows.
        pipeline = Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        # Only under the lock are all earlier activations visible.
        earlier = _earlier(release, operation_key)
        if earlier is not None:
            return earlier
        release.refresh_from_db(fields=("status",))
        _require_registered(release)
        newest = pipeline.activation
        _require_expected(newest, expected_release_version)
        kind = kind_of(release, newest.release if newest else None)
        _require_reason(pipeline, reason, kind)
        if rule is not None:
            rule(pipeline, kind)
        verdicts = gates.require_met(Switch(release, pipeline, kind, binding=True))
        activation = Activation.objects.create(
            pipeline=pipeline,
            sequence=newest.sequence + 1 if newest else 1,
            release=release,
            previous=newest.release if newest else None,
            kind=kind,
            actor=actor,
            reason=reason.strip(),
            operation_key=operation_key,
        )
        pipeline.activation = activation
        pipeline.save(update_fields=("activation",))
        audit.record(
            "release.activate",
            tenant=release.pipeline.tenant,
            actor=actor,
            object_type="release",
            object=release.audit_name,
            reason=activation.reason,
            sequence=activation.sequence,
            previous=newest.release.release_version if newest else None,
            kind=activation.kind,
        )
    for gate in verdicts:
        if gate.verdict is Verdict.WARNING:
            log.warning("%s activated %s of %s: %s", actor, release, release.pipeline.tenant, gate.detail)
    return activation


def _earlier(release: Release, operation_key: str | None) -> Activation | None:
    """Return the activation that has the operation key. Raises `OperationKeyReused` if it is of another release."""
    if operation_key is None:
        return None
    found = queries.history(release.pipeline).filter(operation_key=operation_key).first()
    if found is not None and found.release_id != release.pk:
        raise OperationKeyReused(
            f"The operation key already activated release {found.release.release_version!r}.",
            activeReleaseVersion=found.release.release_version,
        )
    return found


def _require_registered(release: Release) -> None:
    if release.status != Status.REGISTERED:
        raise ReleaseNotRegistered(
            f"Release {release.release_version!r} is {release.status}.", releaseStatus=release.status
        )


def _require_reason(pipeline: Pipeline, reason: str, kind: Kind = Kind.ACTIVATION) -> None:
    if reason.strip():
        return
    if kind == Kind.ROLLBACK:
        raise ReasonRequired("A rollback requires a reason.")
    if pipeline.reason_required:
        raise ReasonRequired(f"The policy of pipeline {pipeline.pipeline_id!r} requires a reason.")


def _require_expected(newest: Activation | None, expected: str | None) -> None:
    active = newest.release.release_version if newest else ""
    if expected is not None and expected != active:
        raise ActiveReleaseChanged(
            f"The expected active release is {expected or 'none'!r}, but the active release is {active or 'none'!r}.",
            activeReleaseVersion=active or None,
        )
