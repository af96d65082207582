"""`/tpf/control-plane`: status, results and open questions."""

import re
from typing import Any

from django.http import HttpRequest
from django.urls import path

from executions.awaits import questions
from executions.errors import CorrelationAmbiguous, RecipientRequired
from executions.models import Execution, Interaction
from executions.models.states import State
from executions.transports import rest_messages
from foundation.errors import CoordinatorError, NotFound
from interop import records
from interop.submissions import ControlPlaneView, allowed_types
from interop.surface import (
    CONTROL_PLANE,
    INVALID,
    NOT_FOUND,
    Refusal,
    TpfView,
    identifier,
    payload_sent,
    required_body,
    text_of,
)
from tenancy.models import Tenant
from wire.documents.contract import AUTOMATIC
from wire.identity import is_identifier
from wire.messages.payload_envelopes import (
    TypedPayload,
    listed,
    plain,
    read_payload,
    travelling_type,
    typed,
)
from wire.messages.suspension import interaction_id
from wire.resume_token import claimed

MAX_PENDING = 1000


class OneExecution(ControlPlaneView):
    def get(self, request: HttpRequest, tenant_id: str, execution_id: str) -> dict[str, Any]:
        return records.status(self.execution(tenant_id, execution_id))


class Result(ControlPlaneView):
    def get(self, request: HttpRequest, tenant_id: str, execution_id: str) -> dict[str, Any]:
        execution = self.execution(tenant_id, execution_id)
        payload = _result(execution)
        return {"status": records.status(execution), "resultPayload": payload.document() if payload else None}


def _result(execution: Execution) -> TypedPayload | None:
    """Return the outputs as their worker sent them, or with the types of the contract if the worker sent none."""
    if execution.status != State.SUCCEEDED:
        return None
    outputs = rest_messages.outputs(execution.pk)
    if outputs is None:
        contract = execution.release.contract
        steps = (contract.document.get("steps") or []) if contract else []
        type_id = steps[-1].get("outputTypeId") if steps else None
        if type_id and contract:
            type_id = travelling_type(type_id, contract.document.get("transport"))
        outputs = [typed(output, type_id) for output in execution.result or []]
    if execution.result_shape == "MATERIALIZED_MULTI":
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
        rows = (
            questions.questions_of(tenant).filter(status__in=Interaction.OPEN, **names).exclude(transport__in=AUTOMATIC)
        )
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
    """Complete the interaction that `named` identifies. Raises `Refusal`."""
    try:
        answered = questions.answer(
            tenant,
            **_names(tenant, named),
            response=response,
            actor=f"{CONTROL_PLANE.actor}:{actor}" if actor else CONTROL_PLANE.actor,
        )
    except NotFound:
        raise Refusal(404, NOT_FOUND) from None
    except CorrelationAmbiguous as error:
        raise Refusal(409, error.detail) from None
    except RecipientRequired as error:
        raise Refusal(403, error.detail) from None
    except CoordinatorError:
        raise Refusal(400, INVALID) from None
    return records.completed(answered)


def _names(tenant: Tenant, named: dict[str, str]) -> dict[str, Any]:
    """Return the arguments that identify the interaction: its id, else its correlation id.

    The resume token must belong to the interaction that was found.
    """
    names: dict[str, Any] = {"resume_token": named["resumeToken"] or None}
    if named["interactionId"]:
        return {**names, "question_id": interaction_id(tenant.slug, named["interactionId"])}
    return {**names, "correlation_id": named["correlationId"] or None}


def _response(tenant: Tenant, named: dict[str, str], document: Any) -> Any:
    """Return the response as plain JSON. Besides the usual types, it may have the await's output type."""
    allowed = allowed_types(None)
    interaction = Interaction.objects.filter(tenant=tenant, **_lookup(tenant, named)).first()
    if interaction is not None:
        allowed = type(allowed)(allowed.prefixes, frozenset({interaction.output_type}))
    with payload_sent():
        return plain(read_payload(document, lenient=True), allowed)


def _lookup(tenant: Tenant, named: dict[str, str]) -> dict[str, Any]:
    """Find it by id, else by the id in the unverified token, else by the correlation id."""
    if named["interactionId"]:
        return {"pk": interaction_id(tenant.slug, named["interactionId"])}
    if named["resumeToken"]:
        return {"pk": interaction_id(tenant.slug, claimed(named["resumeToken"], "interactionId"))}
    return {"pk": questions.named_by_correlation(tenant, named["correlationId"])}


_TENANT = "tenants/<str:tenantId>/"
urlpatterns = [
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
