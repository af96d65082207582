"""JSON records of the compatibility surface."""

from typing import Any

from executions.awaits.awaits import epoch_ms
from executions.awaits.questions import Answered
from executions.lifecycle.interventions import Redriven
from executions.models import AdmissionReceipt, Execution, Interaction, Worker
from executions.models.states import OUTCOME_UNKNOWN, State
from releases.artifacts.store import artifact_store
from releases.models import Activation, Artifact, Release
from tenancy.models import Tenant
from wire.documents import release_evidence
from wire.messages.payload_envelopes import INTENT_VERSION

FOREVER = 2**63 - 1
_ERROR_CODES: dict[str | None, str] = {OUTCOME_UNKNOWN: "REMOTE_OUTCOME_UNKNOWN"}
"""The names that clients of `/tpf` know for some codes."""


def release(row: Release, active: Activation | None, *, activated: bool = False) -> dict[str, Any]:
    """Return a release record. `active` is the pipeline's newest activation.

    With `activated`, the time of the update is that of the activation.
    """
    is_active = active is not None and active.release_id == row.pk
    at = epoch_ms(active.activated_at) if active is not None and is_active else 0
    primary = _primary(row)
    stored = primary["primaryArtifactChecksum"]
    return {
        "tenantId": row.pipeline.tenant.slug,
        "pipelineId": row.pipeline.pipeline_id,
        "contractVersion": row.contract_version,
        "releaseVersion": row.release_version,
        "status": "ACTIVE" if is_active else "REGISTERED",
        "descriptor": row.descriptor,
        **primary,
        "primaryArtifactUri": artifact_store().address(stored) if stored else "",
        "contract": _contract(row),
        "createdAtEpochMs": epoch_ms(row.created_at),
        "updatedAtEpochMs": at if activated and at else epoch_ms(row.status_changed_at),
        "activatedAtEpochMs": at,
    }


def _contract(row: Release) -> dict[str, Any] | None:
    """Return the contract. Builds since October 2026 write no `awaitTransport`, and their clients refuse it."""
    if row.contract is None:
        return None
    document = row.contract.document
    steps = [
        {name: value for name, value in step.items() if name != "awaitTransport" or value is not None}
        for step in document["steps"]
    ]
    return {**document, "steps": steps}


def _primary(row: Release) -> dict[str, Any]:
    """Return the members of the primary artifact. One that is stored elsewhere has no URI, size or checksum."""
    artifacts = row.artifacts.select_related("blob").filter(artifact_id=row.primary_artifact_id)
    artifact: Artifact | None = artifacts.order_by("-position").first()
    blob = artifact.blob if artifact else None
    return {
        "primaryArtifactId": artifact.artifact_id if artifact else "",
        "primaryArtifactDigest": artifact.digest if artifact else "",
        "primaryArtifactUri": artifact.uri if artifact and blob else "",
        "primaryArtifactSizeBytes": blob.size if blob else 0,
        "primaryArtifactChecksum": blob.digest if blob else "",
    }


def evidence(row: Release) -> dict[str, Any]:
    """Return the immutable identity of a registered release with its fingerprint, for clients since November 2026.

    It depends only on what never changes. So the URI of the primary artifact is that of the descriptor, while a release
    record has the address of the stored bytes, which can move to another store.
    """
    return release_evidence.evidence(row.descriptor, row.contract.document if row.contract else None, _primary(row))


def _event(row: Activation) -> dict[str, Any]:
    """Return the members of an activation. Its id has the sequence, by which the admin and the API name it."""
    release, pipeline = row.release, row.release.pipeline
    return {
        "activationId": f"{pipeline.tenant.slug}:{pipeline.pipeline_id}:{row.sequence}",
        "contractVersion": release.contract_version,
        "releaseVersion": release.release_version,
        "immutableReleaseIdentity": evidence(release),
        "activatedAtEpochMs": epoch_ms(row.activated_at),
    }


def receipt(row: Activation) -> dict[str, Any]:
    """Return the receipt of an activation with an operation key. It depends only on what never changes."""
    pipeline = row.release.pipeline
    return {
        "schemaVersion": 1,
        "operationKey": row.operation_key,
        "tenantId": pipeline.tenant.slug,
        "pipelineId": pipeline.pipeline_id,
        **_event(row),
    }


def current_activation(tenant_id: str, pipeline_id: str, row: Activation | None) -> dict[str, Any]:
    """Return what made the active release active. The state LEGACY_UNKNOWN does not occur: all have an event."""
    return {
        "schemaVersion": 1,
        "tenantId": tenant_id,
        "pipelineId": pipeline_id,
        "state": "IDENTIFIED" if row else "NONE",
        "identifiedEvent": _event(row) if row else None,
    }


def worker(row: Worker, tenant: Tenant) -> dict[str, Any]:
    since = [moment for moment in (row.draining_since, row.drained_by_operator_at) if moment is not None]
    return {
        "tenantId": tenant.slug,
        "pipelineId": row.pipeline_id,
        "contractVersion": row.contract_version,
        "releaseVersion": row.release_version,
        "workerId": row.worker_id,
        "protocol": row.protocol,
        "endpoint": row.endpoint,
        "artifactId": row.artifact_id,
        "artifactDigest": row.artifact_digest,
        "state": row.eligibility.state,
        "registeredAtEpochMs": epoch_ms(row.registered_at),
        "lastHeartbeatAtEpochMs": epoch_ms(row.last_heartbeat_at),
        "drainingSinceEpochMs": epoch_ms(min(since)) if since else 0,
    }


def redriven(result: Redriven) -> dict[str, Any]:
    row = result.execution
    return {
        "tenantId": row.tenant.slug,
        "executionId": str(row.pk),
        "previousStatus": result.previous_status.value,
        "status": row.status,
        "version": row.version,
        "currentStepIndex": row.current_step_index,
        "attempt": row.attempt,
        "pipelineId": row.pipeline_id,
        "contractVersion": row.contract_version,
        "releaseVersion": row.release_version,
        "updatedAtEpochMs": epoch_ms(row.updated_at),
    }


def status(row: Execution) -> dict[str, Any]:
    """Return a status record. The protocol has no state CANCELLED, so it is FAILED with the error code CANCELLED.

    An unknown outcome is FAILED too, with the error code of `/tpf`: earlier clients cannot read its status.
    """
    cancelled = row.status == State.CANCELLED
    return {
        "executionId": str(row.pk),
        "status": State.FAILED.value if cancelled else row.status,
        "stepIndex": row.current_step_index,
        "attempt": row.attempt,
        "version": row.version,
        "nextDueAtEpochMs": FOREVER if row.status == State.WAITING_EXTERNAL else epoch_ms(row.next_due_at),
        "updatedAtEpochMs": epoch_ms(row.updated_at),
        "errorCode": "CANCELLED" if cancelled else _ERROR_CODES.get(row.error_code, row.error_code),
        "errorMessage": "The execution was cancelled" if cancelled else row.error_message,
    }


def admission(row: AdmissionReceipt) -> dict[str, Any]:
    """Return the receipt of an execution that was admitted under a client key. It never changes."""
    return {
        "schemaVersion": INTENT_VERSION,
        "tenantId": row.tenant.slug,
        "pipelineId": row.pipeline_id,
        "clientKey": row.client_key,
        "contractVersion": row.release.contract_version,
        "releaseVersion": row.release.release_version,
        "executionId": str(row.execution_id),
        "releaseMetadataFingerprint": row.release_fingerprint,
        "primaryArtifactId": row.artifact_id,
        "primaryArtifactDigest": row.artifact_digest,
        "intentFingerprint": row.intent_fingerprint,
        "admittedAtEpochMs": epoch_ms(row.created_at),
    }


def pending(row: Interaction) -> dict[str, Any]:
    return {
        "interactionId": row.known_as,
        "correlationId": row.correlation_id,
        "executionId": str(row.execution_id),
        "stepId": row.step_id,
        "stepIndex": row.step_index,
        "outputType": row.output_type,
        "status": row.status,
        "requestPayload": row.request,
        "assignee": row.assignee,
        "group": row.group,
        "transportType": row.transport,
        "transportMetadata": row.transport_metadata,
        "deadlineEpochMs": epoch_ms(row.deadline),
        "createdAtEpochMs": epoch_ms(row.created_at),
        "updatedAtEpochMs": epoch_ms(row.updated_at),
    }


def completed(answered: Answered) -> dict[str, Any]:
    return {
        "interactionId": answered.question.known_as,
        "executionId": str(answered.question.execution_id),
        "stepId": answered.question.step_id,
        "status": answered.question.status,
        "duplicate": answered.duplicate,
    }
