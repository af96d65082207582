"""Activation: the append-only event that makes a release the one that new executions get (wire protocol A.6).

Activations of one pipeline are serialised by its row lock and ordered by sequence. What runs already is never touched.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction

from releases import queries
from releases.artifacts.soundness import require_verified
from releases.errors import ActiveReleaseChanged, OperationKeyReused, ReasonRequired, ReleaseNotRegistered
from releases.models import Activation, Pipeline, Release
from releases.states import Status
from releases.trust import trust

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fact:
    """One line of what an activation would mean, for the person who confirms it."""

    label: str
    value: str
    warning: bool = False


# Apps above this one add what they know of a release, such as the workers that host it.
fact_sources: list[Callable[[Release, Release | None], list[Fact]]] = []


def facts(release: Release, active: Release | None) -> list[Fact]:
    """What activating `release` in place of `active` would mean, as far as anyone knows."""
    return [*_signature_facts(release), *(fact for source in fact_sources for fact in source(release, active))]


def _signature_facts(release: Release) -> list[Fact]:
    found = trust.of(release)
    if found.warns or not found.is_met:
        asked = " The policy of the pipeline refuses it." if not found.is_met else ""
        return [Fact("Signatures", found.told + asked, warning=True)]
    names = [signer.key.name for signer in found.signers if signer.verdict is trust.Verdict.VALID and signer.key]
    return [Fact("Signed by", ", ".join(dict.fromkeys(names)))] if names else []


def is_rollback(release: Release, active: Release | None) -> bool:
    return active is not None and release.pk < active.pk


def activate(
    release: Release,
    *,
    actor: str,
    reason: str = "",
    expected_release_version: str | None = None,
    operation_key: str | None = None,
) -> Activation:
    """Make `release` active for new executions and return the event. Safe to repeat with an `operation_key`.

    With `expected_release_version` it is refused unless that release ("" for none) is active. Activating the active
    release again is an event too. Raises `ReleaseNotRegistered`, `ReasonRequired`, `ArtifactMissing`,
    `ArtifactAltered`, `ArtifactStoreUnavailable`, `ActiveReleaseChanged`, `OperationKeyReused`, `SignatureRequired`.
    """
    repeated = _repeated(release, operation_key)
    if repeated is not None:
        return repeated
    _require_registered(release)
    _require_reason(release.pipeline, reason)
    require_verified(release)
    with transaction.atomic():
        # Without a join: whoever waits here for the lock gets the pipeline anew, but joined rows as they were before.
        pipeline = Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        # Only under the lock is it settled what came before.
        repeated = _repeated(release, operation_key)
        if repeated is not None:
            return repeated
        release.refresh_from_db(fields=("status",))
        _require_registered(release)
        _require_reason(pipeline, reason)
        newest = pipeline.activation
        _require_expected(newest, expected_release_version)
        signed = trust.require_met(release, pipeline)
        activation = Activation.objects.create(
            pipeline=pipeline,
            sequence=newest.sequence + 1 if newest else 1,
            release=release,
            previous=newest.release if newest else None,
            actor=actor,
            reason=reason.strip(),
            operation_key=operation_key,
        )
        pipeline.activation = activation
        pipeline.save(update_fields=("activation",))
    if signed.warns:
        log.warning("%s activated %s of %s: %s", actor, release, release.pipeline.tenant, signed.told)
    return activation


def _repeated(release: Release, operation_key: str | None) -> Activation | None:
    if operation_key is None:
        return None
    found = queries.history(release.pipeline).filter(operation_key=operation_key).first()
    if found is not None and found.release_id != release.pk:
        raise OperationKeyReused(
            f"The operation key activated release {found.release.release_version!r} before.",
            activeReleaseVersion=found.release.release_version,
        )
    return found


def _require_registered(release: Release) -> None:
    if release.status != Status.REGISTERED:
        raise ReleaseNotRegistered(
            f"Release {release.release_version!r} is {release.status}.", releaseStatus=release.status
        )


def _require_reason(pipeline: Pipeline, reason: str) -> None:
    if pipeline.reason_required and not reason.strip():
        raise ReasonRequired(f"Pipeline {pipeline.pipeline_id!r} asks for a reason.")


def _require_expected(newest: Activation | None, expected: str | None) -> None:
    active = newest.release.release_version if newest else ""
    if expected is not None and expected != active:
        raise ActiveReleaseChanged(
            f"Expected {expected or 'no release'!r} to be active, but it is {active or 'none'!r}.",
            activeReleaseVersion=active or None,
        )
