"""Checks whether a pipeline accepts executions now, and to which release they are pinned.

A successful check is cached for a short time, so that not every submission repeats it. Failures are not cached. The
INSERT verifies the pin against the tables. So each submission that begins after an activation, a revocation or a pause
respects it, even if a process has an older admission in its cache.
"""

from collections.abc import Set
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from django.conf import settings

from executions.errors import InputInvalid, PipelinePaused, ReleaseNotAdmitted, TenantNotAllowed
from executions.holds import holds
from executions.workers import message_path
from executions.workers.eligibility import require_healthy
from foundation.errors import CoordinatorError
from foundation.timed_cache import TimedCache
from releases import pointer, queries
from releases.artifacts.soundness import require_sound
from releases.errors import ActiveReleaseChanged
from releases.models import Activation, Release
from releases.pointer import Routing
from releases.states import Status
from tenancy.models import Tenant
from wire.documents.canonical_types import Mismatch, mismatches
from wire.documents.concurrency import ConcurrencyLimit, limit_of
from wire.documents.contract import Contract, contract_from_json, takes_many
from wire.documents.search import SearchField, values_of


class Purpose(Enum):
    """Why a caller names the release of a new execution. It decides which releases the caller may name.

    The guards of the database enforce the same: see ADR 77.
    """

    SUBMISSION = "submission"
    """A release that is open: the active one, the candidate, or one that was replaced just now."""
    RESUBMISSION = "resubmission"
    """A release that is open, or was active before."""
    SMOKE_TEST = "smoke test"
    """Any registered release. The caller holds `releases:activate`."""


@dataclass
class Admission:
    """A release that accepts executions at one moment.

    `activation` is the key of the newest activation of the pipeline. With `is_named`, the caller named the release, so
    it may be another one than the active one: see `named`.
    """

    release: Release
    activation: int | None
    is_named: bool = False
    interrupted: bool = False
    """True if no message reached the control workers at that moment."""
    candidate: "Candidate | None" = None
    """The candidate of a gradual activation that is running. None if it could not run an execution at that moment."""

    @cached_property
    def contract(self) -> Contract | None:
        stored = self.release.contract
        for before in self._cached():
            if before is not self and before.release.pk == self.release.pk:
                return before.contract
        return contract_from_json(stored.document) if stored else None

    def _cached(self) -> "list[Admission]":
        """Return the latest cached admissions of the pipeline: to its active release and to its candidate."""
        latest = cache.latest(self._key)
        if latest is None:
            return []
        return [latest] if latest.candidate is None else [latest, latest.candidate.admission]

    @cached_property
    def result_shape(self) -> str:
        return self.contract.result_shape if self.contract else "SINGLE"

    @cached_property
    def search(self) -> tuple[SearchField, ...]:
        """The fields of the input that can be searched, as the release declares them."""
        paths = self.release.search
        if not paths or self.contract is None or not self.contract.steps:
            return ()
        from wire.documents.search_types import fields_of  # many installations need it never

        return fields_of(paths, self.contract.canonical_types, self.contract.steps[0].input_type_id)

    @cached_property
    def concurrency(self) -> ConcurrencyLimit | None:
        """How many executions with an equal key may be in progress, as the release declares."""
        declared = self.release.declarations
        return limit_of(declared["concurrency"]) if "concurrency" in declared else None

    def search_values(self, value: Any, shape: str) -> list[dict[str, str]]:
        """Return what `values_of` returns for an input. A list of items has no values."""
        return values_of(self.search, value) if shape == "UNI" else []

    @cached_property
    def columns(self) -> dict[str, Any]:
        """What the rows of all admitted executions have in common."""
        return {
            "release": self.release.pk,
            "activation": self.activation,
            "result_shape": self.result_shape,
            "checkpoints": self.release.checkpoints,
        }

    def require_expected(self, release_version: str | None) -> None:
        """Raise `ActiveReleaseChanged` unless `release_version` is None or that of the active release."""
        active = self.release.release_version
        if release_version is not None and release_version != active:
            raise ActiveReleaseChanged(
                f"Expected {release_version!r} to be active, but it is {active!r}.", activeReleaseVersion=active
            )

    def input_shape(self, value: Any, requested: str | None = None) -> str:
        """Return `shape_of_input`. Raises `InputInvalid` if the value or an item lacks the type of the first step."""
        shape = shape_of_input(self.contract, requested)
        errors = [
            {"field": path, "code": "INPUT_TYPE", "message": rule}
            for path, rule in wrong_places(self.contract, value, shape)
        ]
        if errors:
            detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:3])
            raise InputInvalid(detail, errors=errors[:100])
        return shape

    @property
    def _key(self) -> tuple[int, str]:
        return self.release.pipeline.tenant_id, self.release.pipeline.pipeline_id

    def require_runnable(self) -> None:
        """Raise `WorkerUnavailable` or what `require_sound` raises if the release cannot run now."""
        require_sound(self.release)
        require_healthy(self.release)

    def require_ready(self) -> None:
        """Do what `require_runnable` does, and cache this admission unless its release was named."""
        self.require_runnable()
        self.interrupted = message_path.is_interrupted()
        if self.candidate is not None:
            self.candidate.admission.interrupted = self.interrupted
        if not self.is_named:
            # Its lifetime begins now, so an admission whose checks were slow has not expired already.
            cache.set(self._key, self)


@dataclass(frozen=True, slots=True)
class Candidate:
    """The admission to the candidate of a gradual activation, and which executions it gets."""

    admission: Admission
    routing: Routing


def require_allowed(tenant: Tenant) -> None:
    """Raise `TenantNotAllowed` if ALLOWED_TENANTS names tenants, but not this one."""
    if settings.ALLOWED_TENANTS and tenant.slug not in settings.ALLOWED_TENANTS:
        raise TenantNotAllowed(f"ALLOWED_TENANTS does not name the tenant {tenant.slug!r}.")


def current(tenant: Tenant, pipeline_id: str) -> Admission:
    """Return the admission by the current tables, with the candidate if there is one.

    Raises `PipelineUnknown`, `NoActiveRelease` and `PipelinePaused`.

    The caller must also call `require_ready` before it submits.
    """
    pipeline = queries.pipeline(tenant, pipeline_id)
    release = queries.active_release(pipeline)
    newest = pipeline.activation
    assert newest is not None  # noqa: S101 - it has an active release
    release.pipeline = pipeline
    _require_not_paused(release)
    return Admission(release, newest.pk, candidate=_candidate(newest))


def _candidate(newest: Activation) -> Candidate | None:
    """Return the candidate that the newest activation of a pipeline names.

    Return None if it names no candidate, if that cannot run now, or if it is paused and refuses submissions. The active
    release then gets its executions: a gradual activation is no reason to refuse one.
    """
    release, gradual, share = newest.candidate, newest.gradual, newest.share
    if release is None or gradual is None or share is None:
        return None
    release.pipeline = newest.release.pipeline
    admission = Admission(release, newest.pk)
    try:
        _require_not_paused(release)
        admission.require_runnable()
    except CoordinatorError:
        return None
    actors = frozenset(f"token:{name}" for name in gradual.groups["tokens"])
    return Candidate(admission, Routing(str(gradual.pk), int(share * 100), frozenset(gradual.groups["tags"]), actors))


def named(tenant: Tenant, pipeline_id: str, release_version: str, purpose: Purpose) -> Admission:
    """Return the admission to a release that a caller names for this purpose. It is never cached.

    The policy says how long a replaced release stays open. The statement that inserts the execution verifies the
    admission. The caller must also call `require_runnable`. Raises `PipelineUnknown`, `ReleaseUnknown`,
    `ReleaseNotAdmitted`, `PipelinePaused` and `ReleaseNotOpen`.
    """
    pipeline = queries.pipeline(tenant, pipeline_id)
    release = queries.release(pipeline, release_version)
    if release.status != Status.REGISTERED:
        raise ReleaseNotAdmitted(f"Release {release_version!r} is {release.status}.", releaseStatus=release.status)
    _require_not_paused(release)
    if purpose is not Purpose.SMOKE_TEST:
        pointer.require_open(release, or_replaced=purpose is Purpose.RESUBMISSION)
    return Admission(release, pipeline.activation_id, is_named=True)


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


class Decision:
    """Whether a pipeline, or a release of it that callers name, accepts executions now: one check for many requests."""

    def __init__(self, tenant: Tenant, pipeline_id: str, release_version: str | None = None) -> None:
        self.admission: Admission | CoordinatorError
        try:
            if release_version is None:
                self.admission = current(tenant, pipeline_id)
            else:
                self.admission = named(tenant, pipeline_id, release_version, Purpose.SUBMISSION)
        except CoordinatorError as refusal:
            # Its traceback refers to the frames of the callers, which refer to it and to the body of the request.
            self.admission = refusal.with_traceback(None)

    @cached_property
    def unready(self) -> CoordinatorError | None:
        """Why the pipeline accepts no executions: because of its release, its artifacts or its workers."""
        if isinstance(self.admission, CoordinatorError):
            return self.admission
        try:
            self.admission.require_ready()
        except CoordinatorError as refusal:
            return refusal.with_traceback(None)
        return None


def ready(tenant: Tenant, pipeline_id: str) -> Admission | None:
    """Return the pipeline's admission, cached or new. None if it accepts no executions: a `Decision` says why."""
    known = cached(tenant, pipeline_id)
    if known is not None:
        return known
    decision = Decision(tenant, pipeline_id)
    return None if decision.unready or isinstance(decision.admission, CoordinatorError) else decision.admission


def shape_of_input(contract: Contract | None, requested: str | None = None) -> str:
    """Return UNI if an input is one value, or MULTI if it is a list of items.

    The first step of the contract determines the shape, unless one is `requested`.
    """
    if contract is None or not contract.steps:
        return requested or "UNI"
    return requested or ("MULTI" if takes_many(contract.steps[0].cardinality) else "UNI")


def wrong_places(contract: Contract | None, value: Any, shape: str, *, shown: Set[str] | None = None) -> list[Mismatch]:
    """Return the places where an input of this shape does not have the type of the first step, and the rules.

    The paths begin with `input`. `shown` is that of `canonical_types.mismatches`.
    """
    if contract is None or not contract.steps:
        return []
    if shape != "MULTI":
        return [(f"input{path}", rule) for path, rule in _mismatches(contract, value, shown)]
    if not isinstance(value, list):
        return [("input", "must be an array of items")]
    return [
        (f"input[{index}]{path}", rule)
        for index, item in enumerate(value)
        for path, rule in _mismatches(contract, item, shown)
    ]


def _mismatches(contract: Contract, item: Any, shown: Set[str] | None) -> list[Mismatch]:
    type_id = contract.steps[0].input_type_id
    return mismatches(contract.canonical_types, type_id, item, shown=shown) if type_id else []
