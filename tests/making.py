"""Creates rows for domain tests, with the use cases of the product where possible."""

import hashlib
import json
import secrets
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django.utils import timezone

from executions.lifecycle import outcome, sweep
from executions.models import DeadLetter, Execution, Schedule, Worker
from executions.schedules import schedules
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.submission.submission import ExecutionRequest, Submission, submit
from governance.activation.activation import activate
from releases.artifacts.local_store import LocalArtifactStore
from releases.artifacts.store import artifact_store
from releases.models import Pipeline, Release, WorkerGate
from releases.registration.registrar import Registration, UploadedArtifact, register
from releases.registration.verification import verify_release
from tenancy.models import Invitation, Tenant
from tests.raw_sql import as_owner, unguarded
from wire.documents.contract import CONTRACT_ENTRY, DECLARATIONS_ENTRY, publish
from wire.documents.descriptor import CHECKPOINTS
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import (
    Checkpoint,
    Failure,
    ItemGroup,
    Outcome,
    OutcomeGroup,
    Suspension,
    transition_key,
)
from wire.worker_keys import worker_key

Row = TypeVar("Row", bound=Model)
PIPELINE = "org.example.orders"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
WRONG_KEY = worker_key("not the coordinator's secret", "acme")
STEP = {
    "index": 0,
    "authoredName": "Validate",
    "kind": "internal",
    "cardinality": "ONE_TO_ONE",
    "inputTypeId": "Order",
    "outputTypeId": "Order",
}


def steps(*names: str) -> list[dict[str, Any]]:
    return [{**STEP, "index": index, "authoredName": name} for index, name in enumerate(names)]


def tenant(slug: str | None = None) -> Tenant:
    slug = slug or f"t-{secrets.token_hex(5)}"
    return Tenant.objects.create(slug=slug, name=slug)


def invitation(owner: Tenant, inviter: User, email: str = "invited@example.com", **members: Any) -> Invitation:
    """Return an open invitation whose e-mail was requested an hour ago."""
    given = {"roles": ["viewer"], "invited_by": f"user:{inviter.username}", **members}
    expires_at = timezone.now() + timedelta(days=7)
    made = Invitation.objects.create(tenant=owner, email=email, inviter=inviter, expires_at=expires_at, **given)
    Invitation.objects.filter(pk=made.pk).update(requested_at=timezone.now() - timedelta(hours=1))
    return made


def contract(pipeline_id: str = PIPELINE, steps: Sequence[dict[str, Any]] = (STEP,), **more: Any) -> dict[str, Any]:
    """Return a contract document as a build publishes it."""
    return publish({"schemaVersion": 1, "pipelineId": pipeline_id, "steps": list(steps), **more})


def archive(document: dict[str, Any] | None, **entries: str) -> bytes:
    """Return a zip archive with the contract and further entries. Equal arguments result in equal bytes."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        if document is not None:
            file.writestr(zipfile.ZipInfo(CONTRACT_ENTRY), json.dumps(document))
        for name, text in entries.items():
            file.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(
    document: dict[str, Any], data: bytes, version: str = "1.0", kind: str = "local-file", **more: Any
) -> dict[str, Any]:
    uri = f"registry.example/app@{digest_of(data)}" if kind.lower().endswith("-image") else "app.zip"
    artifact = {"artifactId": "app", "kind": kind, "uri": uri, "digest": digest_of(data)}
    return {
        "schemaVersion": 1,
        "pipelineId": document["pipelineId"],
        "contractVersion": document["contractVersion"],
        "releaseVersion": version,
        "artifacts": [artifact],
        **more,
    }


def staged(data: bytes, name: str = "app.zip") -> UploadedArtifact:
    blob = artifact_store().stage(limit=10**9)
    blob.write(data)
    return UploadedArtifact(name, blob)


def stored_file(digest: str) -> Path:
    store = artifact_store()
    assert isinstance(store, LocalArtifactStore)
    return store.file(digest)


def upload(owner: Tenant, document: dict[str, Any], *files: bytes, **more: Any) -> Registration:
    """Upload a release. A new pipeline of it needs no worker before an activation."""
    more.setdefault("worker_gate", WorkerGate.OFF)
    return register(owner, json.dumps(document).encode(), [staged(data) for data in files], actor="user:test", **more)


def uploaded(owner: Tenant, version: str = "1.0", *, body: str = "", **contract_members: Any) -> Release:
    """Upload a release that is not verified yet, and return it."""
    made = contract(**contract_members)
    data = archive(made, code=body or version)
    return upload(owner, descriptor(made, data, version), data).release


def registered(owner: Tenant, version: str = "1.0", *, body: str = "", **contract_members: Any) -> Release:
    return verified(uploaded(owner, version, body=body, **contract_members))


def verdict(release: Release) -> tuple[str, list[tuple[str, str]]]:
    """Verify the release. Return its status, and the code and field of each finding."""
    verify_release(release.pk)
    release.refresh_from_db()
    return release.status, [(finding["code"], finding["field"]) for finding in release.findings]


def verified(release: Release) -> Release:
    status, findings = verdict(release)
    assert status == "REGISTERED", findings
    return release


def scheduled(owner: Tenant, name: str = "nightly", cron: str = "0 2 * * *", **members: Any) -> Schedule:
    """Add a schedule of the pipeline."""
    pipeline_id, given = members.pop("pipeline_id", PIPELINE), members.keys() & {"paused", "most"}
    more = {name: members.pop(name) for name in given}
    settings = schedules.Settings(name=name, cron=cron, **{"input": {"n": 1}, **members})
    return schedules.add(owner, pipeline_id, settings, actor="user:test", **more)


def active(owner: Tenant, version: str = "1.0", **members: Any) -> Release:
    release = registered(owner, version, **members)
    activate(release, actor="user:test")
    return Release.objects.select_related("pipeline__tenant", "pipeline__activation", "contract").get(pk=release.pk)


def release_of(owner: Tenant, version: str) -> Release:
    """Return the release with this version, of the only pipeline that has one."""
    related = ("pipeline__tenant", "pipeline__activation__release", "contract")
    return Release.objects.select_related(*related).get(pipeline__tenant=owner, release_version=version)


def replaced(release: Release) -> Release:
    """Activate a registered release, and then the release that is active now again. Return the former."""
    activation = Pipeline.objects.get(pk=release.pipeline_id).activation
    assert activation is not None
    activate(release, actor="user:test")
    activate(activation.release, actor="user:test", reason="back")
    return release


def worker(release: Release, name: str = "worker-1", capacity: int = 10, **changes: Any) -> Worker:
    now = timezone.now()
    members: dict[str, Any] = {
        "tenant": release.pipeline.tenant,
        "pipeline_id": release.pipeline.pipeline_id,
        "contract_version": release.contract_version,
        "release_version": release.release_version,
        "worker_id": name,
        "capacity": capacity,
        "registered_at": now,
        "last_heartbeat_at": now,
        "last_sent_at": now,
    }
    members |= changes
    return Worker.objects.create(**{"alive_until": members["last_heartbeat_at"] + timedelta(seconds=30), **members})


def silence(*workers: Worker, since: datetime | None = None) -> None:
    """Set the last heartbeat of the workers to `since` (default: an hour ago), so that they become stale."""
    last_heartbeat = since or timezone.now() - timedelta(hours=1)
    rows = Worker.objects.filter(pk__in=[worker.pk for worker in workers])
    rows.update(last_heartbeat_at=last_heartbeat, alive_until=last_heartbeat + timedelta(seconds=30))


def lasting(owner: Tenant) -> None:
    """Keep the workers of the tenant alive for a day, for worlds that a module shares."""
    Worker.objects.filter(tenant=owner).update(alive_until=timezone.now() + timedelta(days=1))


def submitted(
    owner: Tenant, key: str, value: Any = None, *, actor: str = "token:test", token: str | None = None, **members: Any
) -> Submission:
    """Submit `value` or the usual input, with `members` of the request. Raises what `submit` raises."""
    members = {"pipeline_id": PIPELINE, "input": {"n": 1} if value is None else value, **members}
    return submit(owner, ExecutionRequest(idempotency_key=key, **members), actor=actor, token=token)


def execution(owner: Tenant, key: str = "key", value: Any = None, pipeline_id: str = PIPELINE) -> Execution:
    """Submit an execution and return it. Its pipeline needs an active release and a worker."""
    return submitted(owner, key, value, pipeline_id=pipeline_id).execution


def ready(owner: Tenant | None = None, **members: Any) -> tuple[Tenant, Release]:
    owner = owner or tenant()
    release = active(owner, **members)
    worker(release)
    return owner, release


def checkpointing(steps: int = 2) -> tuple[Tenant, Release]:
    """Create a tenant, an active release with checkpoints, and a healthy worker of the release."""
    owner = tenant()
    document = contract(steps=[{**STEP, "index": index} for index in range(steps)])
    release = declaring(owner, document=document, checkpoints=True)
    activate(release, actor="user:test")
    return owner, release


def declaring(
    owner: Tenant,
    version: str = "1.0",
    *,
    document: dict[str, Any] | None = None,
    checkpoints: bool = False,
    **declared: Any,
) -> Release:
    """Return a registered release of the contract `document` that declares this, with a healthy worker."""
    document = document or contract()
    data = archive(document, code=version, **({DECLARATIONS_ENTRY: json.dumps(declared)} if declared else {}))
    made = descriptor(document, data, version)
    made["artifacts"][0] |= {"capabilities": [CHECKPOINTS]} if checkpoints else {}
    release = verified(upload(owner, made, data).release)
    worker(release, f"worker-{version}")
    return Release.objects.select_related("pipeline__tenant").get(pk=release.pk)


def granted(_ticket: str) -> bool:
    """Grant every ticket, for hosts without a broker."""
    return True


def copies(execution: Execution, count: int, **changes: Any) -> None:
    """Insert `count` copies of `execution`, which must be new. They differ in their ids, their keys and `changes`."""
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            """WITH copied AS (
                INSERT INTO executions_execution SELECT (jsonb_populate_record(e, jsonb_build_object(
                    'id', gen_random_uuid(), 'execution_key', 'k' || n) || %s)).*
                FROM executions_execution e, generate_series(1, %s) n WHERE e.id = %s RETURNING id)
            INSERT INTO executions_executionevent (execution_id, sequence, kind, status, actor, data, at)
            SELECT c.id, v.sequence, v.kind, v.status, v.actor, v.data, v.at
            FROM copied c, executions_executionevent v WHERE v.execution_id = %s""",
            [json.dumps(changes, default=str), count, execution.pk, execution.pk],
        )


def claimed(owner: Tenant, *, limit: int = 100, lease_seconds: float = 30, quota: int = 0) -> list[Claim]:
    """Claim due executions like a dispatcher. Return the claims of `owner`, in the order in which they were due."""
    claims, _ = moves.claim(owner="dispatcher", limit=limit, lease_seconds=lease_seconds, quota=quota)
    return [claim for claim in claims if claim.tenant == owner.slug]


def outcome_of(claim: Claim, result: str = "COMPLETED", **members: Any) -> Outcome:
    outputs = ['{"n": 1}'] if result == "COMPLETED" else []
    return Outcome(**{**_of(claim), "outcome": result, "output_payloads": outputs, **members})


def _of(claim: Claim) -> dict[str, Any]:
    return {
        "execution_id": claim.execution_id,
        "execution_version": claim.version,
        "lease_token": claim.lease_token,
        "transition_key": transition_key(claim.execution_id, claim.step_index, claim.attempt),
    }


def failure(
    claim: Claim, code: str = "SomeError", *, retryable: bool = True, message: str = "why", traceback: str = ""
) -> Outcome:
    reported = Failure(failure_class=code, message=message, retryable=retryable, traceback=traceback)
    return outcome_of(claim, "FAILED", failure=reported)


def reached(claim: Claim, step: int, *outputs: str, **members: Any) -> Checkpoint:
    """Return the checkpoint that a worker reports before `step`, while its transition runs."""
    return Checkpoint(**{**_of(claim), "next_step_index": step, "output_payloads": list(outputs), **members})


def items(claim: Claim, results: Mapping[int, Any], **members: Any) -> ItemGroup:
    """Return the group that a worker reports of items that are finished. A result that is a text is JSON."""
    outputs = [result if isinstance(result, str) else json.dumps(result) for result in results.values()]
    reported = {"step_index": 1, "items": list(results), "outputs": outputs, "total": 9, **members}
    return ItemGroup(**{**_of(claim), **reported})


def record(
    *outcomes: Outcome,
    checkpoints: Sequence[Checkpoint] = (),
    items: Sequence[ItemGroup] = (),
    identity: ReleaseIdentity | None = None,
    worker_id: str = "w",
    **members: Any,
) -> int:
    """Record a worker's reports. Return the number of recorded outcomes.

    The worker hosts the release `identity`, by default the one to which the first reported execution is pinned.
    """
    group = OutcomeGroup(
        worker_id=worker_id, outcomes=list(outcomes), checkpoints=list(checkpoints), items=list(items), **members
    )
    reports: list[Outcome | Checkpoint | ItemGroup] = [*outcomes, *checkpoints, *items]
    return outcome.record(identity or Execution.objects.get(pk=reports[0].execution_id).pin, group)


def reread(row: Row) -> Row:
    """Read the row from the database again, and return it."""
    row.refresh_from_db()
    return row


def lose_lease(claim: Claim) -> None:
    Execution.objects.filter(pk=claim.execution_id).update(lease_expires_at=LONG_AGO)
    assert sweep.expire_leases() == 1


def kinds(execution: Execution) -> list[str]:
    return [kind for kind, _ in history(execution)]


def history(execution: Execution) -> list[tuple[str, str]]:
    """Return kind and status of each event. Assert that the sequence has no gap."""
    events = list(execution.events.order_by("sequence"))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    execution.refresh_from_db()
    assert execution.event_count == len(events)
    return [(event.kind, event.status) for event in events]


def dead(
    owner: Tenant, *keys: str, code: str = "SomeError", retryable: bool = True, pipeline_id: str = PIPELINE
) -> list[Execution]:
    """Submit executions that end in DLQ if `retryable`, else in FAILED. No other execution may be due."""
    made = [execution(owner, key, pipeline_id=pipeline_id) for key in keys]
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    claims = claimed(owner, limit=len(keys))
    assert record(*(failure(claim, code, retryable=retryable) for claim in claims)) == len(keys)
    return list(Execution.objects.filter(pk__in=[row.pk for row in made]).order_by("execution_key"))


def suspension(claim: Claim, request: str = '{"n": 1}', **members: Any) -> Outcome:
    """Return the outcome of a worker that reached an await at the first step of the claim."""
    defaults: dict[str, Any] = {
        "step_index": claim.step_index,
        "step_id": "Approve",
        "itemized": False,
        "gives_many": False,
        "requests": [request],
        "request_shape": "UNI",
        "output_type": "Order",
        "transport": "interaction-api",
        "timeout_seconds": 60.0,
    }
    return outcome_of(claim, "WAITING_EXTERNAL", suspension=Suspension(**{**defaults, **members}))


def aged(*executions: Execution, days: float) -> None:
    finished(timezone.now() - timedelta(days=days), *executions)


def finished(at: datetime, *executions: Execution) -> None:
    """Set the finish time of the executions and of their failures. Disables the triggers that forbid this change."""
    with unguarded(Execution), unguarded(DeadLetter):
        Execution.objects.filter(pk__in=[execution.pk for execution in executions]).update(finished_at=at)
        DeadLetter.objects.filter(execution__in=executions).update(created_at=at)
