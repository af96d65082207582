"""`/tpf/control-plane`: submissions, status, results and open questions (wire protocol C)."""

import re
import uuid
from contextlib import AbstractContextManager
from typing import Any, cast, get_args

from django.conf import settings
from django.http import HttpRequest
from django.urls import path
from django.utils import timezone

from executions.awaits import interactions
from executions.awaits.awaits import epoch_ms
from executions.errors import CorrelationAmbiguous, ExecutionUnknown, InputInvalid, WorkerUnavailable
from executions.lifecycle import queries
from executions.models import Execution, Interaction
from executions.models.states import State
from executions.submission.requests import ExecutionRequest, Submission
from executions.submission.submission import submit
from executions.transports.rest import messages
from foundation.errors import CoordinatorError, NotFound
from foundation.telemetry import traces
from interop import records
from interop.ingress import Ingress, allowed_types, ingress_of, server_key
from interop.surface import (
    CONTROL_PLANE,
    INVALID,
    NOT_FOUND,
    Refusal,
    TpfView,
    flag_of,
    identifier,
    required,
    required_body,
    text_of,
)
from releases import queries as registry
from releases.artifacts.soundness import require_verified
from releases.errors import ActiveReleaseChanged, ArtifactUnverified, NoActiveRelease, PipelineUnknown
from releases.models import Release
from tenancy.models import Tenant
from wire.documents.contract import TIMER
from wire.identity import is_identifier
from wire.messages.payload_envelopes import (
    PayloadRefused,
    SnapshotShape,
    TypedPayload,
    listed,
    plain,
    read_payload,
    travelling_type,
    typed,
)
from wire.messages.rest_messages import execution_key
from wire.messages.suspension import interaction_id
from wire.resume_token import claimed

NO_ACTIVE = "No active release is registered for the requested pipeline"
INVALID_PAYLOAD = "Invalid request payload"
KEY_REQUIRED = "Idempotency-Key header is required."
NO_STREAMING = "Async queue mode does not support streaming pipeline outputs yet."
MAX_PENDING = 1000
MAX_KEY_CHARACTERS = 200
SUBMISSION_ATTEMPTS = 5


class ControlPlaneView(TpfView):
    surface = CONTROL_PLANE
    unavailable = "Hosted control-plane admin token is unavailable"

    def execution(self, tenant_id: str, execution_id: str) -> Execution:
        tenant = self.known_tenant(tenant_id)
        try:
            return queries.execution(tenant, uuid.UUID(execution_id))
        except (ExecutionUnknown, ValueError):
            raise Refusal(404, NOT_FOUND) from None


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
        with served("POST executions", request, tenant):
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
        ingress = read_input(release, shape, read_input_payload(body))
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


def read_input_payload(body: dict[str, Any]) -> TypedPayload:
    """Return the payload of the input as it was sent. Raises `Refusal`."""
    try:
        return read_payload(body["inputPayload"], lenient=True)
    except PayloadRefused:
        raise Refusal(400, INVALID_PAYLOAD) from None


def read_input(release: Release, shape: SnapshotShape, payload: TypedPayload) -> Ingress:
    """Return the input of `release` from its payload. Raises `Refusal`."""
    try:
        return ingress_of(release, shape, payload)
    except PayloadRefused:
        raise Refusal(400, INVALID_PAYLOAD) from None


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
    except InputInvalid:
        raise Refusal(400, INVALID_PAYLOAD) from None
    except WorkerUnavailable as error:
        raise Refusal(503, f"No worker available for active release: {error.detail}") from None


class OneExecution(ControlPlaneView):
    def get(self, request: HttpRequest, tenant_id: str, execution_id: str) -> dict[str, Any]:
        return records.status(self.execution(tenant_id, execution_id))


class Result(ControlPlaneView):
    def get(self, request: HttpRequest, tenant_id: str, execution_id: str) -> dict[str, Any]:
        found = self.execution(tenant_id, execution_id)
        payload = _result(found)
        return {"status": records.status(found), "resultPayload": payload.document() if payload else None}


def _result(of: Execution) -> TypedPayload | None:
    """Return the outputs as their worker sent them, or with the types of the contract if the worker sent none."""
    if of.status != State.SUCCEEDED:
        return None
    outputs = messages.outputs(of.pk)
    if outputs is None:
        contract = of.release.contract
        steps = (contract.document.get("steps") or []) if contract else []
        type_id = steps[-1].get("outputTypeId") if steps else None
        if type_id and contract:
            type_id = travelling_type(type_id, contract.document.get("transport"))
        outputs = [typed(output, type_id) for output in of.result or []]
    if of.result_shape == "MATERIALIZED_MULTI":
        return listed(outputs)
    return outputs[0] if outputs else None


class Pending(ControlPlaneView):
    def get(self, request: HttpRequest, tenant_id: str) -> list[dict[str, Any]]:
        requested = {name: request.GET.get(name, "").strip() for name in ("assignee", "group", "stepId", "limit")}
        limit = requested.pop("limit") or "100"
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", limit):
            raise Refusal(404)
        tenant = self.tenant(tenant_id)
        if tenant is None or not all(is_identifier(value) for value in requested.values() if value):
            return []
        names = {{"stepId": "step_id"}.get(name, name): value for name, value in requested.items() if value}
        rows = interactions.interactions(tenant).filter(status__in=Interaction.OPEN, **names).exclude(transport=TIMER)
        return [records.pending(row) for row in rows[: min(max(int(limit), 1), MAX_PENDING)]]


class Complete(ControlPlaneView):
    def post(self, request: HttpRequest, tenant_id: str) -> dict[str, Any]:
        body, named = _completion(request)
        if not any(named.values()):
            raise Refusal(400, "interactionId, correlationId, or resumeToken is required")
        _require_response(body)
        actor = identifier(text_of(body, "actor"), "actor", 150)
        tenant = self.known_tenant(tenant_id)
        return complete(tenant, named, _response(tenant, named, body["responsePayload"]), actor)


def _completion(request: HttpRequest) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body of a completion, and what names the interaction in it. Raises `Refusal`."""
    body = required_body(request, "Await completion request is required")
    return body, {name: text_of(body, name) for name in ("interactionId", "correlationId", "resumeToken")}


def _require_response(body: dict[str, Any]) -> None:
    if body.get("responsePayload") is None:
        raise Refusal(400, "responsePayload is required")


def complete(tenant: Tenant, named: dict[str, str], response: Any, actor: str) -> dict[str, Any]:
    """Complete the interaction that `named` identifies. Raises `Refusal` (wire protocol C.4)."""
    try:
        completion = interactions.complete(
            tenant,
            **_names(tenant, named),
            response=response,
            actor=f"{CONTROL_PLANE.actor}:{actor}" if actor else CONTROL_PLANE.actor,
        )
    except NotFound:
        raise Refusal(404, NOT_FOUND) from None
    except CorrelationAmbiguous as error:
        raise Refusal(409, error.detail) from None
    except CoordinatorError:
        raise Refusal(400, INVALID) from None
    return records.completed(completion)


def _names(tenant: Tenant, named: dict[str, str]) -> dict[str, Any]:
    """Return the arguments that identify the interaction: its id, else its correlation id (wire protocol F.4).

    The resume token must belong to the interaction that was found.
    """
    names: dict[str, Any] = {"resume_token": named["resumeToken"] or None}
    if named["interactionId"]:
        return {**names, "interaction_id": interaction_id(tenant.slug, named["interactionId"])}
    return {**names, "correlation_id": named["correlationId"] or None}


def _response(tenant: Tenant, named: dict[str, str], document: Any) -> Any:
    """Return the response as plain JSON. Besides the usual types, it may have the await's output type."""
    allowed = allowed_types(None)
    interaction = Interaction.objects.filter(tenant=tenant, **_lookup(tenant, named)).first()
    if interaction is not None:
        allowed = type(allowed)(allowed.prefixes, frozenset({interaction.output_type}))
    try:
        return plain(read_payload(document, lenient=True), allowed)
    except PayloadRefused:
        raise Refusal(400, INVALID_PAYLOAD) from None


def _lookup(tenant: Tenant, named: dict[str, str]) -> dict[str, Any]:
    """Find it by id, else by the id in the unverified token, else by the correlation id (wire protocol F.4)."""
    if named["interactionId"]:
        return {"pk": interaction_id(tenant.slug, named["interactionId"])}
    if named["resumeToken"]:
        return {"pk": interaction_id(tenant.slug, claimed(named["resumeToken"], "interactionId"))}
    try:
        return {"pk": interactions.named_by_correlation(tenant, named["correlationId"])}
    except CorrelationAmbiguous as error:
        raise Refusal(409, error.detail) from None


_TENANT = "tenants/<str:tenantId>/"
urlpatterns = [
    path(_TENANT + "executions", Executions.as_view()),
    path(_TENANT + "executions/<str:executionId>", OneExecution.as_view()),
    path(_TENANT + "executions/<str:executionId>/result", Result.as_view()),
    path(_TENANT + "interactions/pending", Pending.as_view()),
    path(_TENANT + "interactions/complete", Complete.as_view()),
]


class CompleteWithToken(TpfView):
    """Accepts an answer in plain JSON. The tenant is that of the header `x-tenant-id`, or of the token."""

    surface = CONTROL_PLANE
    bearer = False

    def post(self, request: HttpRequest) -> dict[str, Any]:
        body, named = _completion(request)
        if not (named["interactionId"] or named["correlationId"]):
            raise Refusal(400, "interactionId or correlationId is required")
        _require_response(body)
        if not named["resumeToken"]:
            raise Refusal(401)
        actor = identifier(text_of(body, "actor"), "actor", 150)
        tenant_id = request.headers.get("x-tenant-id", "").strip() or claimed(named["resumeToken"], "tenantId")
        return complete(self.known_tenant(tenant_id), named, body["responsePayload"], actor)


application_urlpatterns = [path("interactions/complete", CompleteWithToken.as_view())]
