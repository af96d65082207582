"""`/tpf/control-plane`: submissions and strict admissions."""

import base64
import hashlib
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast, get_args

from django.conf import settings
from django.http import HttpRequest
from django.urls import path
from django.utils import timezone

from executions.awaits.awaits import epoch_ms
from executions.errors import ExecutionUnknown, WorkerUnavailable
from executions.lifecycle import queries
from executions.models import AdmissionReceipt, Execution
from executions.submission.submission import ExecutionRequest, Submission, submit
from foundation.telemetry import traces
from interop import records
from interop.surface import (
    CONTROL_PLANE,
    NOT_FOUND,
    Refusal,
    TpfView,
    flag_of,
    identifier,
    or_404,
    payload_sent,
    required,
    required_body,
    text_of,
)
from releases import queries as registry
from releases.artifacts.soundness import require_verified
from releases.errors import ActiveReleaseChanged, ArtifactUnverified, NoActiveRelease, PipelineUnknown
from releases.models import IDENTITY_LENGTH, Release
from releases.states import Status
from tenancy.models import Tenant
from wire.documents import json_writer
from wire.messages.celery_messages import Shape
from wire.messages.payload_envelopes import (
    LIST,
    NULL,
    SET,
    AdmissionIntent,
    Allowed,
    PayloadRefused,
    Snapshot,
    SnapshotShape,
    TypedPayload,
    admission_key,
    parts,
    read_payload,
    relabelled,
    snapshot_value,
)
from wire.messages.rest_messages import execution_key

NO_ACTIVE = "No active release is registered for the requested pipeline"
KEY_REQUIRED = "Idempotency-Key header is required."
NO_STREAMING = "Async queue mode does not support streaming pipeline outputs yet."
MAX_KEY_CHARACTERS = 200
SUBMISSION_ATTEMPTS = 5
OTHER_INTENT = "clientKey belongs to the admission of another intent"
NEVER_REGISTERED = {Status.UPLOADED, Status.VERIFYING, Status.REJECTED}


class ControlPlaneView(TpfView):
    surface = CONTROL_PLANE
    unavailable = "Hosted control-plane admin token is unavailable"

    def execution(self, tenant_id: str, execution_id: str) -> Execution:
        tenant = self.known_tenant(tenant_id)
        try:
            return queries.execution(tenant, uuid.UUID(execution_id))
        except (ExecutionUnknown, ValueError):
            raise Refusal(404, NOT_FOUND) from None


# --- the input ---


@dataclass(frozen=True, slots=True)
class Ingress:
    """The input in plain JSON, and the snapshot that REST workers receive."""

    value: Any
    snapshot: Snapshot

    @property
    def shape(self) -> Shape:
        return "MULTI" if self.snapshot.shape == "MULTI" else "UNI"


def allowed_types(contract: Mapping[str, Any] | None) -> Allowed:
    """Return the payload types that the settings allow by prefix, and those of the contract."""
    steps = (contract or {}).get("steps") or []
    named = {str(step[end]) for step in steps for end in ("inputTypeId", "outputTypeId") if step.get(end)}
    named |= set((contract or {}).get("canonicalTypes") or {})
    return Allowed(tuple(settings.PAYLOAD_TYPE_PREFIXES), frozenset(named))


def ingress_of(release: Release, shape: SnapshotShape, payload: TypedPayload) -> Ingress:
    """Return the input of `release` from `payload`. Raises `PayloadRefused`.

    Payloads with a concrete type are unchanged. Containers get the contract's input type of the first step. RAW input
    is unchanged, as a single value.
    """
    contract = release.contract.document if release.contract else None
    allowed = allowed_types(contract)
    steps = (contract or {}).get("steps") or []
    type_id = steps[0].get("inputTypeId") if steps else None
    if shape == "MULTI":
        items = [relabelled(item, type_id, allowed) for item in _items(payload)]
        snapshot = Snapshot(shape="MULTI", items=items)
    else:
        typed = payload if shape == "RAW" else relabelled(payload, type_id, allowed)
        snapshot = Snapshot(shape="UNI", payload=typed)
    return Ingress(snapshot_value(snapshot, allowed), snapshot)


def _items(payload: TypedPayload) -> list[TypedPayload]:
    if payload.payload_type_id == NULL:
        return []
    if payload.payload_type_id not in (LIST, SET):
        raise PayloadRefused("MULTI input must be a list")
    return parts(payload)


def server_key(tenant_id: str, value: Any) -> str:
    """Return the key of a submission without one: the same for equal inputs."""
    digest = hashlib.sha256(f"{tenant_id}:{json_writer.canonical(value)}".encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


# --- submissions to the active release ---


class Executions(ControlPlaneView):
    creates_tenant = True

    def post(self, request: HttpRequest, tenant_id: str) -> dict[str, Any]:
        body = required_body(request, "pipelineId is required")
        pipeline_id, shape = required(body, "pipelineId"), input_shape(body)
        tenant = self.tenant(tenant_id)
        if tenant is None:
            raise Refusal(409, NO_ACTIVE)
        if flag_of(body, "outputStreaming"):
            raise Refusal(400, NO_STREAMING)
        with served("POST executions", request, tenant), payload_sent():
            submission = _submit(tenant, pipeline_id, shape, body)
        return {
            "executionId": str(submission.execution_id),
            "duplicate": submission.duplicate,
            "statusUrl": f"/pipeline/executions/{submission.execution_id}",
            "submittedAtEpochMs": epoch_ms(timezone.now()),
        }


def input_shape(body: dict[str, Any]) -> SnapshotShape:
    """Return the shape of the input in `body`. Raises `Refusal` if the shape or the input is missing or unknown."""
    shape = required(body, "inputShape")
    if shape not in get_args(SnapshotShape):
        raise Refusal(400)
    if body.get("inputPayload") is None:
        raise Refusal(400, "inputPayload is required")
    return cast("SnapshotShape", shape)


def served(name: str, request: HttpRequest, tenant: Tenant) -> AbstractContextManager[Any]:
    """Serve a submission: its executions join the trace of the request."""
    attributes = {"http.request.method": "POST", "pipelines.tenant": tenant.slug}
    return traces.serving(name, request.META.get("HTTP_TRACEPARENT"), attributes)


def _submit(tenant: Tenant, pipeline_id: str, shape: SnapshotShape, body: dict[str, Any]) -> Submission:
    """Submit to the active release. Repeats if another release is activated meanwhile, because the key contains it."""
    for _ in range(SUBMISSION_ATTEMPTS):
        release = _active(tenant, pipeline_id)
        ingress = ingress_of(release, shape, read_payload(body["inputPayload"], lenient=True))
        key = execution_key(pipeline_id, release.release_version, _key(tenant, body, ingress))
        try:
            return accept(tenant, release, ingress, key, expected_release_version=release.release_version)
        except ActiveReleaseChanged:
            continue
    raise Refusal(409, "Releases are activated too fast to submit to one of them")


def _active(tenant: Tenant, pipeline_id: str) -> Release:
    try:
        return registry.active_release(registry.pipeline(tenant, pipeline_id))
    except (PipelineUnknown, NoActiveRelease):
        raise Refusal(409, NO_ACTIVE) from None


def _key(tenant: Tenant, body: dict[str, Any], ingress: Ingress) -> str:
    client_key = identifier(text_of(body, "idempotencyKey"), "idempotencyKey", MAX_KEY_CHARACTERS)
    if settings.TPF_IDEMPOTENCY == "CLIENT_KEY_REQUIRED" and not client_key:
        raise Refusal(400, KEY_REQUIRED)
    if client_key and settings.TPF_IDEMPOTENCY != "SERVER_KEY_ONLY":
        return client_key
    return server_key(tenant.slug, ingress.value)


def accept(tenant: Tenant, release: Release, ingress: Ingress, key: str, **named: Any) -> Submission:
    """Submit to `release`. `named` says by which member of `ExecutionRequest` it is named.

    Bytes of an artifact that were written again are hashed first. Raises `Refusal` with the protocol's text, or the
    error of `submit`, whose status and text the client gets.
    """
    request = ExecutionRequest(
        release.pipeline.pipeline_id,
        ingress.value,
        key,
        input_shape=ingress.shape,
        wire_input=ingress.snapshot.document(),
        key_alone=True,
        **named,
    )
    try:
        try:
            return submit(tenant, request, actor=CONTROL_PLANE.actor)
        except ArtifactUnverified:
            # The original hashes the artifact at each submission, and its clients do not repeat a refused one.
            require_verified(release)
            return submit(tenant, request, actor=CONTROL_PLANE.actor)
    except WorkerUnavailable as error:
        raise Refusal(503, f"No worker available for active release: {error.wire_detail}") from None


# --- strict admissions ---

# A client names the release that it expects, and gets a receipt that it can ask for again at any time. The client's key
# belongs to the pipeline, not to a release. The execution and its receipt are written in one transaction.


class Admissions(ControlPlaneView):
    def post(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> dict[str, Any]:
        body = required_body(request, "request is required")
        with payload_sent():
            intent = _intent(tenant_id, pipeline_id, body)
        tenant = self.known_tenant(tenant_id)
        receipt = _receipt(tenant, pipeline_id, intent.client_key)
        if receipt is None:
            with served("POST execution-admissions", request, tenant), payload_sent():
                _admit(tenant, intent)
            # If another request with the key was first, the receipt is that of its intent.
            receipt = _receipt(tenant, pipeline_id, intent.client_key)
        if receipt is None or receipt.intent_fingerprint != intent.fingerprint():
            raise Refusal(409, OTHER_INTENT)
        return records.admission(receipt)


class OneAdmission(ControlPlaneView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str, client_key: str) -> dict[str, Any]:
        return records.admission(or_404(_receipt(self.known_tenant(tenant_id), pipeline_id, client_key)))


def _intent(tenant_id: str, pipeline_id: str, body: dict[str, Any]) -> AdmissionIntent:
    return AdmissionIntent(
        tenant_id=tenant_id,
        pipeline_id=pipeline_id,
        client_key=_exact(body, "clientKey", MAX_KEY_CHARACTERS),
        contract_version=_exact(body, "contractVersion", IDENTITY_LENGTH),
        release_version=_exact(body, "releaseVersion", IDENTITY_LENGTH),
        input_shape=input_shape(body),
        payload=read_payload(body["inputPayload"], lenient=True),
        output_streaming=flag_of(body, "outputStreaming"),
    )


def _exact(body: dict[str, Any], name: str, longest: int) -> str:
    """Return a member exactly as it was sent, because the fingerprint of the intent covers it. Raises `Refusal`."""
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refusal(400, f"{name} is required")
    return identifier(value, name, longest)


def _receipt(tenant: Tenant, pipeline_id: str, client_key: str) -> AdmissionReceipt | None:
    rows = AdmissionReceipt.objects.select_related("tenant", "release")
    return rows.filter(tenant=tenant, pipeline_id=pipeline_id, client_key=client_key).first()


def _admit(tenant: Tenant, intent: AdmissionIntent) -> None:
    """Submit an execution to the release that the intent names, with its receipt. Raises `Refusal`."""
    release = _expected(tenant, intent)
    if intent.output_streaming:
        raise Refusal(400, NO_STREAMING)
    evidence = records.evidence(release)
    receipt = AdmissionReceipt(
        tenant=tenant,
        pipeline_id=intent.pipeline_id,
        release=release,
        client_key=intent.client_key,
        intent_fingerprint=intent.fingerprint(),
        release_fingerprint=evidence["metadataFingerprint"],
        artifact_id=evidence["primaryArtifactId"],
        artifact_digest=evidence["primaryArtifactDigest"],
    )
    ingress = ingress_of(release, intent.input_shape, intent.payload)
    key = admission_key(intent.client_key)
    accept(tenant, release, ingress, key, release_version=release.release_version, receipt=receipt)


def _expected(tenant: Tenant, intent: AdmissionIntent) -> Release:
    """Return the release with the version that the intent expects. Whether it is open is decided at the submission."""
    release = registry.release(registry.pipeline(tenant, intent.pipeline_id), intent.release_version)
    if release.status in NEVER_REGISTERED:
        raise Refusal(404)
    if release.contract_version != intent.contract_version:
        raise Refusal(409, f"Release {release.release_version} has the contractVersion {release.contract_version}")
    return release


_ADMISSIONS = "tenants/<str:tenantId>/pipelines/<str:pipelineId>/execution-admissions"
urlpatterns = [
    path("tenants/<str:tenantId>/executions", Executions.as_view()),
    path(_ADMISSIONS, Admissions.as_view()),
    path(f"{_ADMISSIONS}/<path:clientKey>", OneAdmission.as_view()),
]
