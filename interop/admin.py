"""`/tpf/admin`: releases, workers and re-drives."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, NoReturn

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import path

from executions.errors import ExecutionUnknown, WorkerLimitReached, WorkerUnknown
from executions.lifecycle import interventions
from executions.lifecycle import queries as executions
from executions.models import Worker
from executions.models.states import State
from executions.submission.admission import require_allowed
from executions.transports import rest_workers
from executions.transports.rest import await_verdict
from executions.workers import registry as worker_registry
from foundation.errors import CoordinatorError
from governance.activation import activation
from interop import records
from interop.registration import register_from
from interop.surface import (
    ADMIN,
    Refusal,
    TpfView,
    body_of,
    bounded,
    flag_of,
    identifier,
    or_404,
    required,
    required_body,
    segment,
    text_of,
    text_of_error,
)
from releases import queries
from releases.errors import NoActiveRelease, PipelineUnknown
from releases.models import SWITCHES, Activation, Kind, Pipeline, Release
from releases.states import Status
from tenancy.models import Tenant
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import LONGEST_WORKER_ID

KEY_REUSED = "The operation key belongs to the activation of another release"
LONGEST_OPERATION_KEY = 200
ROLLED_BACK = "rolled back by a call of /tpf, which has no reason"
VERDICT_WAIT_SECONDS = 1.0


class ReleaseView(TpfView):
    surface = ADMIN
    unavailable = "Release admin token is unavailable"

    def pipeline(self, tenant_id: str, pipeline_id: str) -> Pipeline | None:
        tenant = self.tenant(tenant_id)
        try:
            return None if tenant is None else queries.pipeline(tenant, pipeline_id)
        except PipelineUnknown:
            return None

    def releases(self, tenant_id: str, pipeline_id: str) -> QuerySet[Release]:
        """Return the registered releases; none of an unknown pipeline."""
        pipeline = self.pipeline(tenant_id, pipeline_id)
        if pipeline is None:
            return Release.objects.none()
        rows = Release.objects.select_related("pipeline__tenant", "pipeline__activation", "contract")
        return rows.filter(pipeline=pipeline, status=Status.REGISTERED)

    def registered(self, tenant_id: str, pipeline_id: str, release_version: str) -> Release:
        """Return the release. Raises `Refusal` 404 unless it is registered."""
        return or_404(self.releases(tenant_id, pipeline_id).filter(release_version=release_version).first())

    def switches(self, tenant_id: str, pipeline_id: str) -> QuerySet[Activation]:
        """Return the activations that made a release active. The steps of gradual activations are none of them."""
        pipeline = self.pipeline(tenant_id, pipeline_id)
        if pipeline is None:
            return Activation.objects.none()
        rows = pipeline.activations.select_related("release__pipeline__tenant", "release__contract")
        return rows.filter(kind__in=SWITCHES)

    def operation(self, tenant_id: str, pipeline_id: str, key: str) -> Activation | None:
        """Return the activation or rollback with the operation key. The API may have made it."""
        return self.switches(tenant_id, pipeline_id).filter(operation_key=key, gradual=None).first()


class RegisterRelease(ReleaseView):
    creates_tenant = True

    def post(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> dict[str, Any]:
        body = body_of(request) or {}
        descriptor_path = required(body, "releaseDescriptorPath", 4096)
        tenant = self.known_tenant(tenant_id)
        release = register_from(tenant, pipeline_id, descriptor_path, actor=ADMIN.actor)
        return records.release(release, release.pipeline.activation)


class Releases(ReleaseView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> list[dict[str, Any]]:
        rows = self.releases(tenant_id, pipeline_id).order_by("created_at", "pk")
        return [records.release(row, row.pipeline.activation) for row in rows]


class ActiveRelease(ReleaseView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> dict[str, Any]:
        pipeline = or_404(self.pipeline(tenant_id, pipeline_id))
        try:
            active = queries.active_release(pipeline)
        except NoActiveRelease:
            raise Refusal(404) from None
        return records.release(active, pipeline.activation, activated=True)


class OneRelease(ReleaseView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str, release_version: str) -> dict[str, Any]:
        release = self.registered(tenant_id, pipeline_id, release_version)
        return records.release(release, release.pipeline.activation)


class Activate(ReleaseView):
    def post(self, request: HttpRequest, tenant_id: str, pipeline_id: str, release_version: str) -> dict[str, Any]:
        release = self.registered(tenant_id, pipeline_id, release_version)
        return records.release(release, _activated(release), activated=True)


class ActivationOperations(ReleaseView):
    """Activates a release once for an operation key. A repeated call gets the receipt of that activation."""

    def post(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> dict[str, Any]:
        body = body_of(request) or {}
        key = identifier(required(body, "operationKey", LONGEST_OPERATION_KEY), "operationKey")
        contract_version, release_version = required(body, "contractVersion"), required(body, "releaseVersion")
        made = self.operation(tenant_id, pipeline_id, key)
        release = made.release if made else self.registered(tenant_id, pipeline_id, release_version)
        if (release.contract_version, release.release_version) != (contract_version, release_version):
            raise Refusal(409, KEY_REUSED if made else f"Release {release_version} has another contract version")
        return records.receipt(made or _activated(release, key))


class ActivationOperation(ReleaseView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str, operation_key: str) -> dict[str, Any]:
        return records.receipt(or_404(self.operation(tenant_id, pipeline_id, operation_key)))


class CurrentActivation(ReleaseView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> dict[str, Any]:
        newest = self.switches(tenant_id, pipeline_id).order_by("-sequence").first()
        if newest is not None and newest.release.status != Status.REGISTERED:
            newest = None
        return records.current_activation(tenant_id, pipeline_id, newest)


def _activated(release: Release, operation_key: str | None = None) -> Activation:
    try:
        return activation.activate(release, actor=ADMIN.actor, reason=_reason(release), operation_key=operation_key)
    except CoordinatorError as error:
        raise Refusal(409, text_of_error(error)) from None


def _reason(release: Release) -> str:
    """Return the reason of an activation, for which the call has no member. Only a rollback always needs one."""
    pipeline = release.pipeline
    active = pipeline.active_release
    is_rollback = activation.kind_of(release, active) is Kind.ROLLBACK
    return ROLLED_BACK if is_rollback and not pipeline.reason_required else ""


class WorkerView(TpfView):
    surface = ADMIN
    unavailable = "Worker lifecycle admin token is unavailable"


class RegisterWorker(WorkerView):
    creates_tenant = True

    def post(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> dict[str, Any]:
        body = required_body(request, "request is required")
        worker_id = segment(required(body, "workerId", LONGEST_WORKER_ID), "workerId")
        identity = ReleaseIdentity(
            tenant_id,
            segment(bounded(pipeline_id, "pipelineId"), "pipelineId"),
            segment(required(body, "contractVersion"), "contractVersion"),
            segment(required(body, "releaseVersion"), "releaseVersion"),
        )
        protocol = identifier(required(body, "protocol"), "protocol", 20).lower()
        tenant = self.known_tenant(tenant_id)
        try:
            worker = rest_workers.register(
                tenant,
                identity,
                worker_id=worker_id,
                protocol=protocol,
                endpoint=bounded(text_of(body, "endpoint"), "endpoint", 2000),
                artifact_id=identifier(text_of(body, "artifactId"), "artifactId"),
                artifact_digest=identifier(text_of(body, "artifactDigest"), "artifactDigest"),
                actor=ADMIN.actor,
            )
        except WorkerLimitReached as error:
            raise Refusal(409, f"{error.code}: {error.detail}") from None
        # Clients submit directly after they have registered their worker, and do not retry a rejected submission.
        await_verdict(worker, seconds=VERDICT_WAIT_SECONDS)
        return records.worker(worker, tenant)


class Heartbeat(WorkerView):
    use_case: ClassVar[Callable[..., Worker]] = staticmethod(rest_workers.heartbeat)

    def post(self, request: HttpRequest, tenant_id: str, pipeline_id: str, worker_id: str) -> dict[str, Any]:
        tenant = or_404(self.tenant(tenant_id))
        try:
            worker = self.use_case(tenant, pipeline_id, worker_id, actor=ADMIN.actor)
        except WorkerUnknown:
            raise Refusal(404) from None
        return records.worker(worker, tenant)


class Drain(Heartbeat):
    use_case = staticmethod(worker_registry.drain)


class Workers(WorkerView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> list[dict[str, Any]]:
        tenant = self.tenant(tenant_id)
        if tenant is None:
            return []
        requested = {
            "contract_version": request.GET.get("contractVersion", "").strip(),
            "release_version": request.GET.get("releaseVersion", "").strip(),
        }
        names = {name: value for name, value in requested.items() if value and "\x00" not in value}
        rows = Worker.objects.select_related("eligibility").filter(tenant=tenant, pipeline_id=pipeline_id, **names)
        return [records.worker(row, tenant) for row in rows.order_by("worker_id")]


# --- re-drives and their intents ---

MAX_REASON_CHARACTERS = 80


class Intent(StrEnum):
    """What a re-drive asks for. The two others than REPLAY repeat a single command of a step."""

    REPLAY = "REPLAY"
    RETRY_FAILED_COMMAND = "RETRY_FAILED_COMMAND"
    REISSUE_COMMAND = "REISSUE_COMMAND"


_COMMANDS = {
    Intent.RETRY_FAILED_COMMAND: (
        State.FAILED,
        "Deliberate Command retry requires an explicitly allowed FAILED execution",
        "Pipeline control plane does not support deliberate Command retry redrive",
    ),
    Intent.REISSUE_COMMAND: (
        State.SUCCEEDED,
        "Command reissue requires a SUCCEEDED execution",
        "Pipeline control plane does not support targeted Command reissue",
    ),
}
"""The state that an intent needs, the text of 409 for other states, and the text of 501."""


@dataclass(frozen=True, slots=True)
class _Requested:
    intent: Intent
    reason: str
    expected_version: int | None
    allow_failed: bool


def _requested(body: dict[str, Any]) -> _Requested:
    """Return the request in `body`. Raises `Refusal` 400 by the rules of existing clients."""
    expected = body.get("expectedVersion")
    if expected is not None and type(expected) is not int:
        raise Refusal(400)
    try:
        intent = Intent.REPLAY if body.get("intent") is None else Intent(text_of(body, "intent"))
    except ValueError:
        raise Refusal(400) from None
    target, reason, allow_failed = (
        text_of(body, "targetCommandId"),
        text_of(body, "reason"),
        flag_of(body, "allowFailed"),
    )
    if intent is not Intent.REISSUE_COMMAND:
        mistakes = {"targetCommandId is only valid for REISSUE_COMMAND": bool(target)}
    else:
        mistakes = {
            "REISSUE_COMMAND requires expectedVersion": expected is None,
            "REISSUE_COMMAND requires a nonblank reason": not reason,
            "REISSUE_COMMAND requires targetCommandId": not target,
            "REISSUE_COMMAND does not accept allowFailed=true": allow_failed,
        }
    for text, is_mistake in mistakes.items():
        if is_mistake:
            raise Refusal(400, text)
    return _Requested(intent, reason, expected, allow_failed)


class Redrive(TpfView):
    surface = ADMIN
    unavailable = "Execution admin token is unavailable"

    def post(self, request: HttpRequest, tenant_id: str, execution_id: str) -> dict[str, Any]:
        body = body_of(request) or {}
        requested = _requested(body)
        unknown = Refusal(404, f"Execution not found: {execution_id}")
        tenant = self.tenant(tenant_id)
        if tenant is None:
            raise unknown
        try:
            if requested.intent is not Intent.REPLAY:
                _refuse(tenant, uuid.UUID(execution_id), requested)
            redriven = interventions.redrive(
                tenant,
                uuid.UUID(execution_id),
                actor=ADMIN.actor,
                reason=(requested.reason or "operator")[:MAX_REASON_CHARACTERS],
                expected_version=requested.expected_version,
                allow_failed=requested.allow_failed,
            )
        except (ExecutionUnknown, ValueError):
            raise unknown from None
        record = records.redriven(redriven)
        # Clients of before September 2026 send no intent, and refuse these members.
        return {**record, "intent": Intent.REPLAY, "targetCommandId": None} if "intent" in body else record


def _refuse(tenant: Tenant, execution_id: uuid.UUID, requested: _Requested) -> NoReturn:
    """Refuse to repeat a single command: this coordinator keeps no record of the commands of steps.

    The execution is checked first.
    """
    require_allowed(tenant)
    execution = executions.execution(tenant, execution_id)
    needed, conflict, unsupported = _COMMANDS[requested.intent]
    if execution.status == needed == State.SUCCEEDED:
        interventions.require_version(execution, requested.expected_version)
    else:
        interventions.require_redrivable(execution, requested.expected_version, requested.allow_failed)
    if execution.status != needed:
        raise Refusal(409, conflict)
    raise Refusal(501, unsupported)


_PIPELINE = "tenants/<str:tenantId>/pipelines/<str:pipelineId>/"
urlpatterns = [
    path(_PIPELINE + "releases/register", RegisterRelease.as_view()),
    path(_PIPELINE + "releases", Releases.as_view()),
    path(_PIPELINE + "releases/active", ActiveRelease.as_view()),
    path(_PIPELINE + "releases/<str:releaseVersion>", OneRelease.as_view()),
    path(_PIPELINE + "releases/<str:releaseVersion>/activate", Activate.as_view()),
    path(_PIPELINE + "current-activation", CurrentActivation.as_view()),
    path(_PIPELINE + "activation-operations", ActivationOperations.as_view()),
    path(_PIPELINE + "activation-operations/<path:operationKey>", ActivationOperation.as_view()),
    path(_PIPELINE + "workers/register", RegisterWorker.as_view()),
    path(_PIPELINE + "workers/<str:workerId>/heartbeat", Heartbeat.as_view()),
    path(_PIPELINE + "workers/<str:workerId>/drain", Drain.as_view()),
    path(_PIPELINE + "workers", Workers.as_view()),
    path("tenants/<str:tenantId>/executions/<str:executionId>/redrive", Redrive.as_view()),
]
