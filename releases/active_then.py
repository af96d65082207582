"""Which releases were active at a time: of one pipeline, or of all pipelines of a tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import OuterRef, QuerySet, Subquery

from releases import evidence, pointer, queries
from releases.errors import NoneActiveThen, TimeInFuture
from releases.models import SWITCHES, Activation, Pipeline, Release, Revocation
from releases.trust import trust
from tenancy.models import Tenant
from wire.documents import active_statement as statements
from wire.documents.execution_runs import instant
from wire.documents.execution_statement import Activation as Evidence

MOST_PIPELINES: Final = 1_000
"""How many pipelines an answer lists, by their ids."""
_DOCUMENTS = [
    f"{release}__{name}"
    for release in ("release", "previous", "candidate")
    for name in ("descriptor", "findings", "declarations", "progress")
]
_FUTURE = {"field": "at", "code": "TIME_IN_FUTURE", "message": "must not be in the future"}


@dataclass(frozen=True, slots=True)
class ActiveThen:
    """The activation that decided which release was active at the time `at`.

    `replaced_at` is the time of the next one that decided this, or None. `revocation` is set if the release was revoked
    by then, so that the pipeline accepted no submissions. `routing` is the newest activation then: it may give a
    candidate a share of the submissions. `evidence` names the people who stand behind the activation.
    """

    at: datetime
    pipeline: Pipeline
    activation: Activation
    evidence: Evidence
    replaced_at: datetime | None
    revocation: Revocation | None
    routing: Activation

    @property
    def revoked_at(self) -> datetime | None:
        return self.revocation.revoked_at if self.revocation else None


@dataclass(frozen=True, slots=True)
class AllActiveThen:
    """What was active in the pipelines of a tenant. `omitted` of them are not listed."""

    at: datetime
    pipelines: Sequence[ActiveThen]
    omitted: int

    @property
    def count(self) -> int:
        return len(self.pipelines) + self.omitted


def active_at(pipeline: Pipeline, at: datetime | None = None) -> ActiveThen:
    """Return what was active at a time, by default now: the newest activation that is not later.

    The times of activations never decrease, so of several at one time, the one with the greatest sequence counts.
    Raises `TimeInFuture`, and `NoneActiveThen` before the first activation.
    """
    active = _active(pipeline.tenant, Pipeline.objects.filter(pk=pipeline.pk), _not_in_future(at))
    if not active:
        raise NoneActiveThen(f"No release of pipeline {pipeline.pipeline_id!r} was active then.")
    return active[0]


def all_active_at(tenant: Tenant, at: datetime | None = None) -> AllActiveThen:
    """Return what was active in the tenant's pipelines at a time, by default now. Raises `TimeInFuture`.

    Lists pipelines with an active release, at most MOST_PIPELINES.
    """
    moment = _not_in_future(at)
    began = Activation.objects.filter(pipeline=OuterRef("pk"), sequence=1, activated_at__lte=moment)
    rows = Pipeline.objects.filter(tenant=tenant).annotate(began=Subquery(began.values("pk"))).exclude(began=None)
    return AllActiveThen(moment, _active(tenant, rows, moment), max(rows.count() - MOST_PIPELINES, 0))


def _not_in_future(at: datetime | None) -> datetime:
    now = queries.clock()
    if at is not None and at > now:
        raise TimeInFuture("The time must not be in the future.", errors=[_FUTURE])
    return now if at is None else at


def _active(tenant: Tenant, pipelines: QuerySet[Pipeline], at: datetime) -> list[ActiveThen]:
    """Return what was active in pipelines of the tenant, by their ids, in a bounded number of statements."""
    until_then = Activation.objects.filter(pipeline=OuterRef("pk"), activated_at__lte=at).order_by("-sequence")
    later = Activation.objects.filter(pipeline=OuterRef("pk"), activated_at__gt=at, kind__in=SWITCHES)
    rows = pipelines.annotate(
        decided_by=Subquery(until_then.filter(kind__in=SWITCHES).values("pk")[:1]),
        routed_by=Subquery(until_then.values("pk")[:1]),
        replaced_at=Subquery(later.order_by("sequence").values("activated_at")[:1]),
    )
    ordered = list(
        rows.exclude(decided_by=None)
        .order_by("pipeline_id", "pk")
        .values_list("pk", "decided_by", "routed_by", "replaced_at")[:MOST_PIPELINES]
    )
    keys = {key for _, *both, _ in ordered for key in both}
    activations = queries.with_requests(Activation.objects.filter(pk__in=keys)).defer(*_DOCUMENTS).in_bulk()
    owners = Pipeline.objects.select_related("tenant").in_bulk([pk for pk, *_ in ordered])
    deciding = [activations[decided] for _, decided, _, _ in ordered]
    described = evidence.described(deciding, tenant)
    released = [row.release_id for row in deciding]
    revocations = Revocation.objects.filter(release__in=released, revoked_at__lte=at).in_bulk(field_name="release_id")
    return [
        ActiveThen(
            at,
            owners[pk],
            activations[decided],
            described[decided],
            replaced_at=replaced_at,
            revocation=revocations.get(activations[decided].release_id),
            routing=activations[routed],
        )
        for pk, decided, routed, replaced_at in ordered
    ]


def statement(tenant: Tenant, at: datetime | None = None) -> dict[str, Any]:
    """Return the unsigned statement about the pipelines of a tenant. The same time gives the same statement.

    An activation has the time at which its transaction began. Until that ends, a statement about a later time lacks it.

    Raises `TimeInFuture`, and `NoneActiveThen` if no release was active.
    """
    then = all_active_at(tenant, at)
    if not then.pipelines:
        raise NoneActiveThen(f"No release of tenant {tenant.slug!r} was active then.")
    ids = [active.activation.release_id for active in then.pipelines]
    releases = Release.objects.prefetch_related("artifacts").in_bulk(ids)
    owners = pointer.owners_of_tokens(tenant, (), (active.revocation for active in then.pipelines if active.revocation))
    pipelines = [
        statements.Pipeline(
            pipeline_id=active.pipeline.pipeline_id,
            release=pointer.described(releases[active.activation.release_id], active.revocation, owners),
            activation=active.evidence,
            candidate=pointer.candidate_of(active.routing),
        )
        for active in then.pipelines
    ]
    ordered = sorted(pipelines, key=lambda pipeline: pipeline.pipeline_id)
    return statements.build(tenant.slug, instant(then.at), ordered, then.omitted)


def signed(tenant: Tenant, at: datetime | None = None) -> bytes:
    """Return the statement in a DSSE envelope. Raises what `statement` raises, and `ProvenanceKeyMissing`."""
    return trust.sign_statement(statement(tenant, at))
