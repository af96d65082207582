"""Checks whether a pipeline accepts executions now, and to which release they are pinned.

A successful check is cached for a short time, so that not every submission repeats it. Failures are not cached. The
INSERT verifies the pin against the tables. So each submission that begins after an activation, a revocation or a pause
respects it, even if a process has an older admission in its cache.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings

from executions.errors import InputInvalid, PipelinePaused, ReleaseNotAdmitted, TenantNotAllowed
from executions.holds import queries as holds
from executions.submission import inputs
from executions.workers import message_path
from executions.workers.eligibility import require_healthy
from foundation.timed_cache import TimedCache
from releases import queries
from releases.artifacts.soundness import require_sound
from releases.errors import ActiveReleaseChanged
from releases.models import Release
from releases.states import Status
from tenancy.models import Tenant
from wire.documents.contract import Contract, contract_from_json


@dataclass
class Admission:
    """A release that accepts executions at one moment.

    `activation` is the key of the event that activated it. It is None if the release was named and need not be active:
    see `named`.
    """

    release: Release
    activation: int | None
    interrupted: bool = False
    """True if no message reached the control workers at that moment."""

    @cached_property
    def contract(self) -> Contract | None:
        stored = self.release.contract
        before = cache.latest(self._key)
        if before is not None and before is not self and before.release.pk == self.release.pk:
            return before.contract
        return contract_from_json(stored.document) if stored else None

    @property
    def checkpoints(self) -> bool:
        return self.release.checkpoints

    @property
    def result_shape(self) -> str:
        return self.contract.result_shape if self.contract else "SINGLE"

    def require_expected(self, release_version: str | None) -> None:
        """Raise `ActiveReleaseChanged` unless `release_version` is None or that of the active release."""
        active = self.release.release_version
        if release_version is not None and release_version != active:
            raise ActiveReleaseChanged(
                f"Expected {release_version!r} to be active, but it is {active!r}.", activeReleaseVersion=active
            )

    def input_shape(self, value: Any, requested: str | None = None) -> str:
        """Return UNI if the input `value` is one value, or MULTI if it is a list of items.

        The first step of the contract determines the shape, unless one is `requested`. Raises `InputInvalid` if the
        value or an item does not have the type of the first step.
        """
        shape = inputs.shape_of(self.contract, requested)
        errors = [_error(path, rule) for path, rule in inputs.wrong(self.contract, value, shape)]
        if errors:
            detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:3])
            raise InputInvalid(detail, errors=errors[:100])
        return shape

    @property
    def _key(self) -> tuple[int, str]:
        return self.release.pipeline.tenant_id, self.release.pipeline.pipeline_id

    def require_runnable(self) -> None:
        """Raise `ArtifactMissing`, `ArtifactAltered` or `WorkerUnavailable` if the release cannot run now."""
        require_sound(self.release)
        require_healthy(self.release)

    def require_ready(self) -> None:
        """Do what `require_runnable` does, and cache this admission of the active release."""
        self.require_runnable()
        self.interrupted = message_path.is_interrupted()
        # Its lifetime begins now, so an admission whose checks were slow has not expired already.
        cache.set(self._key, self)


def require_allowed(tenant: Tenant) -> None:
    """Raise `TenantNotAllowed` if ALLOWED_TENANTS names tenants, but not this one."""
    if settings.ALLOWED_TENANTS and tenant.slug not in settings.ALLOWED_TENANTS:
        raise TenantNotAllowed(f"ALLOWED_TENANTS does not name the tenant {tenant.slug!r}.")


def current(tenant: Tenant, pipeline_id: str) -> Admission:
    """Return the admission by the current tables. Raises `PipelineUnknown`, `NoActiveRelease` and `PipelinePaused`.

    The caller must also call `require_ready` before it submits.
    """
    pipeline = queries.pipeline(tenant, pipeline_id)
    release = queries.active_release(pipeline)
    assert pipeline.activation_id is not None  # noqa: S101 - it has an active release
    release.pipeline = pipeline
    _require_not_paused(release)
    return Admission(release, pipeline.activation_id)


def named(tenant: Tenant, pipeline_id: str, release_version: str) -> Admission:
    """Return the admission to a registered release, whether it is active or not. It is never cached.

    The caller must also call `require_runnable`. Raises `PipelineUnknown`, `ReleaseUnknown`, `ReleaseNotAdmitted` and
    `PipelinePaused`.
    """
    release = queries.release(queries.pipeline(tenant, pipeline_id), release_version)
    if release.status != Status.REGISTERED:
        raise ReleaseNotAdmitted(f"Release {release_version!r} is {release.status}.", releaseStatus=release.status)
    _require_not_paused(release)
    return Admission(release, None)


def _require_not_paused(release: Release) -> None:
    hold = holds.refusing(release)
    if hold is not None:
        paused = "The pipeline" if hold.pipeline_id else f"Release {release.release_version!r}"
        since = hold.started_at.isoformat()
        raise PipelinePaused(f"{paused} is paused since {since}: {hold.reason}", since=since, reason=hold.reason)


cache: TimedCache[tuple[int, str], Admission] = TimedCache(
    seconds=lambda: float(settings.SUBMISSION_CACHE_SECONDS), most=10_000, renew_after=0.5
)
"""Admissions whose checks have passed, by the primary key of the tenant and the pipeline's id."""


def cached(tenant: Tenant, pipeline_id: str) -> Admission | None:
    """Return an admission that is at most SUBMISSION_CACHE_SECONDS old; None if the caller must make a new one.

    After half of this time, one caller gets None while the others still get the cached admission.
    """
    return cache.get_or_renew((tenant.pk, pipeline_id))


def _error(field: str, rule: str) -> dict[str, str]:
    return {"field": field, "code": "INPUT_TYPE", "message": rule}
