"""Deployments: a release is registered, and the client that requested this gets a receipt once it is verified.

A receipt is written only for a registered release. So a request without one is safe to repeat: it continues to wait for
the verdict, or registers the release again if it was rejected.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db import IntegrityError, connection, transaction

from foundation import retry
from foundation.database.postgresql.outage import violated_constraint
from releases.errors import (
    DeploymentKeyReused,
    DeploymentPending,
    DeploymentRejected,
    DescriptorProfileUnsupported,
    PipelineOfOtherApplication,
    ReleaseRetired,
    ReleaseRevoked,
)
from releases.models import Deployment, Pipeline, Release
from releases.registration import registrar
from releases.registration.progress import findings_so_far
from releases.states import PENDING, Status
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from wire.documents.descriptor import CarrierDescriptor, Profile, unpromotable
from wire.findings import Severity

KEY_ONCE = "deployment_key_once"
ANSWER_SECONDS = 4.0
"""How long after the end of the wait the database may take to answer."""


@dataclass(frozen=True)
class DeploymentRequest:
    """A request to deploy the release that `document`, a descriptor, describes."""

    document: bytes
    application: str
    environment: str
    idempotency_key: str

    @cached_property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.document).hexdigest()}"


def deploy(
    tenant: Tenant,
    request: DeploymentRequest,
    *,
    actor: str,
    deadline: float,
    pause: Callable[[float], None] = time.sleep,
) -> Deployment:
    """Register the release, wait for its verdict until `deadline`, and return the receipt. Activates nothing.

    A repeated key with the same document, application and environment returns the first receipt, even if the release
    would be refused now. The pipeline belongs to the application of its first receipt: a refused request assigns none.
    `deadline` is a time of the monotonic clock. `pause` sleeps for a number of seconds and is not called in a
    transaction. A statement that the database answers too late, for example because of a lock, fails: see
    `_answers`.

    Raises, in this order: `DeploymentKeyReused`, `DescriptorInvalid`, `DescriptorProfileUnsupported`,
    `DeploymentRejected` for a descriptor with a location that other machines cannot resolve,
    `PipelineOfOtherApplication`, `ReleaseConflict`, the tenant's quotas, `ArtifactStoreUnavailable` if stored bytes of
    the release are being removed for that long, `DeploymentPending` without a verdict in time,
    `DeploymentRejected` with the findings of the verification, `ReleaseRevoked` and `ReleaseRetired`, and
    `PipelineOfOtherApplication` again if the pipeline was assigned meanwhile.
    """
    with _answers(deadline):
        earlier = _earlier(tenant, request)
        if earlier is not None:
            return earlier
        release = _register(tenant, request, actor, deadline)
    _wait_for_verdict(release, deadline, pause)
    with _answers(deadline):
        _require_registered(release)
        return _write_receipt(tenant, request, release, actor)


def _answers(deadline: float) -> AbstractContextManager[None]:
    """Let the database answer until shortly after `deadline`. Use this in parts: a pause may change the connection."""
    wrapper: Any = connection
    answers: AbstractContextManager[None] = wrapper.answered_until(deadline + ANSWER_SECONDS)
    return answers


def _register(tenant: Tenant, request: DeploymentRequest, actor: str, deadline: float) -> Release:
    descriptor = _promotable(request.document)
    pipelines = Pipeline.objects.filter(tenant=tenant, pipeline_id=descriptor.pipeline_id)
    _require_application(pipelines.first(), request.application)
    left = max(deadline - time.monotonic(), 0.0)
    return registrar.register(tenant, request.document, (), actor=actor, promotable=True, lease_seconds=left).release


def _earlier(tenant: Tenant, request: DeploymentRequest) -> Deployment | None:
    """Return the receipt with the request's key, if there is one. Raises `DeploymentKeyReused`."""
    earlier = Deployment.objects.filter(tenant=tenant, idempotency_key=request.idempotency_key).first()
    if earlier is None:
        return None
    if (earlier.descriptor_digest, earlier.application, earlier.environment) != (
        request.digest,
        request.application,
        request.environment,
    ):
        raise DeploymentKeyReused(
            "The idempotency key belongs to a deployment of another descriptor, application or environment.",
            deploymentId=str(earlier.pk),
        )
    return earlier


def _promotable(document: bytes) -> CarrierDescriptor:
    descriptor = registrar.read_descriptor(document)
    if not isinstance(descriptor, CarrierDescriptor):
        raise DescriptorProfileUnsupported(
            f"Only descriptors of the profile {Profile.TPF_2026_10} can be deployed: "
            "they have the member compiledTruthArtifactId."
        )
    findings = unpromotable(descriptor, Severity.ERROR)
    if findings:
        raise DeploymentRejected(findings[0].message, errors=[finding.to_json() for finding in findings])
    return descriptor


def _require_application(pipeline: Pipeline | None, application: str) -> None:
    if pipeline is not None and pipeline.application not in ("", application):
        raise PipelineOfOtherApplication(f"Pipeline {pipeline.pipeline_id!r} belongs to another application.")


def _assign_pipeline(pipeline: Pipeline, application: str) -> None:
    """Assign a pipeline without an application to this one. Raises `PipelineOfOtherApplication`."""
    # No updated row: it has one, perhaps that of a concurrent deployment.
    Pipeline.objects.filter(pk=pipeline.pk, application="").update(application=application)
    pipeline.refresh_from_db(fields=["application"])
    _require_application(pipeline, application)


def _wait_for_verdict(release: Release, deadline: float, pause: Callable[[float], None]) -> None:
    """Return when the release has a verdict. Raises `DeploymentPending` at the deadline."""
    for seconds in retry.pauses_until(deadline):
        if release.status not in PENDING:
            return
        pause(seconds)
        with _answers(deadline):
            release.refresh_from_db(fields=["status", "progress"])
    if release.status in PENDING:
        raise DeploymentPending(
            f"Release {release.release_version!r} is {release.status}. Repeat the request with the same idempotency "
            "key.",
            errors=findings_so_far(release),
        )


def _require_registered(release: Release) -> None:
    """Raise `DeploymentRejected`, `ReleaseRevoked` or `ReleaseRetired` unless the release is registered."""
    if release.status == Status.REJECTED:
        release.refresh_from_db(fields=["findings"])
        raise DeploymentRejected(
            f"Release {release.release_version!r} was rejected: the entries of errors say why.",
            errors=release.findings,
        )
    if release.status == Status.REVOKED:
        raise ReleaseRevoked(f"Release {release.release_version!r} is revoked.")
    if release.status == Status.RETIRED:
        raise ReleaseRetired(f"Release {release.release_version!r} is retired.")


def _write_receipt(tenant: Tenant, request: DeploymentRequest, release: Release, actor: str) -> Deployment:
    """Return the receipt: a new one, or that of a concurrent request with the same key."""
    try:
        with transaction.atomic():
            _assign_pipeline(release.pipeline, request.application)
            created = Deployment.objects.create(
                tenant=tenant,
                idempotency_key=request.idempotency_key,
                release=release,
                descriptor_digest=request.digest,
                application=request.application,
                environment=request.environment,
                actor=actor,
            )
            release.record(
                Act.DEPLOYMENT_CREATE,
                actor,
                deploymentId=str(created.pk),
                application=request.application,
                environment=request.environment,
            )
            return created
    except IntegrityError as error:
        earlier = _earlier(tenant, request) if violated_constraint(error) == KEY_ONCE else None
        if earlier is None:
            raise
        return earlier
