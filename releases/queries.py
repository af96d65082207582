"""Queries for pipelines, releases and activations. The caller must have authorised access to the tenant."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from foundation.database.compiled import Compiled
from releases.errors import (
    ActiveReleaseRevoked,
    DescriptorUnknown,
    NoActiveRelease,
    PipelineUnknown,
    ReleaseUnknown,
    RequestUnknown,
)
from releases.models import Activation, ActivationRequest, Artifact, Blob, Pipeline, Release, Revocation
from releases.states import Status
from tenancy.models import Tenant
from wire.documents.contract import Contract, contract_from_json
from wire.findings import DocumentError

REJECTED_RECENTLY: Final = "rejected-recently"
"""The name of the filter that lists `rejected_recently`."""
REJECTED_DAYS: Final = 7
CLOCK = "SELECT clock_timestamp()"
"""Returns the database's time in one row."""


def pipeline(tenant: Tenant, pipeline_id: str) -> Pipeline:
    """Return the pipeline with its active release and its candidate, which refer to it. Raises `PipelineUnknown`."""
    known = _PIPELINE.first(tenant=tenant.pk, name=pipeline_id)
    if known is None:
        raise PipelineUnknown(f"There is no pipeline {pipeline_id!r}.")
    if known.activation is not None:
        for release in (known.activation.release, known.activation.candidate):
            if release is not None:
                release.pipeline = known
    return known


def with_activation(rows: QuerySet[Pipeline]) -> QuerySet[Pipeline]:
    """Return the pipelines with their tenants, active releases and candidates, in one query."""
    return rows.select_related(
        "tenant", "activation__release__contract", "activation__candidate__contract", "activation__gradual"
    )


_PIPELINE = Compiled(
    lambda tenant, name: with_activation(Pipeline.objects.filter(tenant=tenant, pipeline_id=name)).order_by(),
    tenant=-1,
    name="name",
)


def release(pipeline: Pipeline, release_version: str) -> Release:
    """Return the release of that version, or the newest rejected one if all were rejected.

    Raises `ReleaseUnknown`.
    """
    rows = pipeline.releases.select_related("pipeline__tenant", "pipeline__activation", "contract").filter(
        release_version=release_version
    )
    try:
        return rows.exclude(status=Status.REJECTED).get()
    except Release.DoesNotExist:
        newest = rows.order_by("-id").first()
    if newest is None:
        raise ReleaseUnknown(f"Pipeline {pipeline.pipeline_id!r} has no release {release_version!r}.")
    return newest


def contract_of(release: Release) -> Contract | None:
    """Return the contract of the release. None if its verification has found no contract yet."""
    if release.contract is None:
        return None
    try:
        return contract_from_json(release.contract.document)
    except DocumentError:
        return None


def described(pipeline: Pipeline, descriptor_digest: str) -> Release:
    """Return the newest release of the pipeline whose descriptor has this SHA-256. Raises `DescriptorUnknown`."""
    release = pipeline.releases.filter(descriptor_digest=descriptor_digest).order_by("-id").first()
    if release is None:
        raise DescriptorUnknown(f"Pipeline {pipeline.pipeline_id!r} has no descriptor {descriptor_digest!r}.")
    return release


def active_release(pipeline: Pipeline) -> Release:
    """Return the release for new executions. Raises `NoActiveRelease`, and `ActiveReleaseRevoked` if it is revoked."""
    if pipeline.activation is None:
        raise NoActiveRelease(f"No release of pipeline {pipeline.pipeline_id!r} is active.")
    active = pipeline.activation.release
    if active.status != Status.REGISTERED:
        raise _revoked(pipeline, active)
    return active


def _revoked(pipeline: Pipeline, active: Release) -> ActiveReleaseRevoked:
    revocation = Revocation.objects.get(release=active)
    return ActiveReleaseRevoked(
        f"The active release {active.release_version!r} of pipeline {pipeline.pipeline_id!r} is REVOKED: "
        f"{revocation.reason} Activate another release.",
        releaseVersion=active.release_version,
        revocationReason=revocation.reason,
        revokedAt=revocation.revoked_at.isoformat(),
    )


def history(pipeline: Pipeline) -> QuerySet[Activation]:
    """Return the activations of a pipeline, newest first, each with its request and the votes on it."""
    return with_requests(pipeline.activations.order_by("-sequence"))


def with_requests(rows: QuerySet[Activation]) -> QuerySet[Activation]:
    """Return the activations with their releases, their requests and the votes on these."""
    related = rows.select_related("release", "previous", "candidate", "request")
    return related.prefetch_related("request__votes")


def with_versions(rows: QuerySet[Activation]) -> QuerySet[Activation]:
    """Return the activations with the versions of their releases, and without these releases' documents."""
    columns = (field.name for field in Activation._meta.concrete_fields)
    releases = ("release", "previous", "candidate")
    return rows.select_related(*releases).only(*columns, *(f"{name}__release_version" for name in releases))


def requests(pipeline: Pipeline) -> QuerySet[ActivationRequest]:
    """Return the requests to activate releases of a pipeline, newest first."""
    return whole_requests(pipeline.activation_requests.all()).order_by("-created_at", "-id")


def whole_requests(rows: QuerySet[ActivationRequest]) -> QuerySet[ActivationRequest]:
    """Return the requests with everything that is shown of one."""
    return rows.select_related("release__pipeline__tenant", "base__release", "activation").prefetch_related("votes")


def request(pipeline: Pipeline, request_id: UUID) -> ActivationRequest:
    """Return one request to activate a release of the pipeline. Raises `RequestUnknown`."""
    try:
        return requests(pipeline).get(pk=request_id)
    except ActivationRequest.DoesNotExist:
        raise RequestUnknown(f"Pipeline {pipeline.pipeline_id!r} has no activation request {request_id}.") from None


def with_unsound_artifacts(rows: QuerySet[Release]) -> QuerySet[Release]:
    """Return the registered releases whose stored artifacts are damaged or missing."""
    unsound = Artifact.objects.filter(release=OuterRef("pk"), blob__state__in=(Blob.State.DAMAGED, Blob.State.MISSING))
    return rows.filter(Exists(unsound), status=Status.REGISTERED)


def rejected_recently(rows: QuerySet[Release]) -> QuerySet[Release]:
    """Return the releases that were rejected in the last days and whose version was not uploaded again."""
    again = Release.objects.filter(
        pipeline=OuterRef("pipeline"), release_version=OuterRef("release_version"), pk__gt=OuterRef("pk")
    )
    since = timezone.now() - timedelta(days=REJECTED_DAYS)
    return rows.filter(~Exists(again), status=Status.REJECTED, status_changed_at__gte=since)


def clock() -> datetime:
    """Return the time of the database, which stamps activations and ends requests."""
    with connection.cursor() as cursor:
        cursor.execute(CLOCK)
        [(now,)] = cursor.fetchall()
    assert isinstance(now, datetime)  # noqa: S101 - CLOCK returns one
    return now
