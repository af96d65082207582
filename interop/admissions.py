"""`/tpf/control-plane`: strict admissions, as in the founding framework of November 2026.

A client names the release that it expects, and gets a receipt that it can ask for again at any time. The client's key
belongs to the pipeline, not to a release. The execution and its receipt are written in one transaction.
"""

from typing import Any

from django.http import HttpRequest
from django.urls import path

from executions.models import AdmissionReceipt
from interop import records
from interop.control_plane import (
    MAX_KEY_CHARACTERS,
    NO_STREAMING,
    ControlPlaneView,
    accept,
    input_shape,
    read_input,
    read_input_payload,
    served,
)
from interop.surface import Refusal, flag_of, identifier, required_body
from releases import queries as registry
from releases.models import IDENTITY_LENGTH, Release
from releases.states import Status
from tenancy.models import Tenant
from wire.messages.payload_envelopes import AdmissionIntent, admission_key

OTHER_INTENT = "clientKey belongs to the admission of another intent"
NEVER_REGISTERED = {Status.UPLOADED, Status.VERIFYING, Status.REJECTED}


class Admissions(ControlPlaneView):
    def post(self, request: HttpRequest, tenant_id: str, pipeline_id: str) -> dict[str, Any]:
        body = required_body(request, "request is required")
        intent = _intent(tenant_id, pipeline_id, body)
        tenant = self.known_tenant(tenant_id)
        receipt = _receipt(tenant, pipeline_id, intent.client_key)
        if receipt is None:
            with served("POST execution-admissions", request, tenant):
                _admit(tenant, intent)
            # If another request with the key was first, the receipt is that of its intent.
            receipt = _receipt(tenant, pipeline_id, intent.client_key)
        if receipt is None or receipt.intent_fingerprint != intent.fingerprint():
            raise Refusal(409, OTHER_INTENT)
        return records.admission(receipt)


class OneAdmission(ControlPlaneView):
    def get(self, request: HttpRequest, tenant_id: str, pipeline_id: str, client_key: str) -> dict[str, Any]:
        receipt = _receipt(self.known_tenant(tenant_id), pipeline_id, client_key)
        if receipt is None:
            raise Refusal(404)
        return records.admission(receipt)


def _intent(tenant_id: str, pipeline_id: str, body: dict[str, Any]) -> AdmissionIntent:
    return AdmissionIntent(
        tenant_id=tenant_id,
        pipeline_id=pipeline_id,
        client_key=_exact(body, "clientKey", MAX_KEY_CHARACTERS),
        contract_version=_exact(body, "contractVersion", IDENTITY_LENGTH),
        release_version=_exact(body, "releaseVersion", IDENTITY_LENGTH),
        input_shape=input_shape(body),
        payload=read_input_payload(body),
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
    ingress = read_input(release, intent.input_shape, intent.payload)
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
    path(_ADMISSIONS, Admissions.as_view()),
    path(f"{_ADMISSIONS}/<path:clientKey>", OneAdmission.as_view()),
]
