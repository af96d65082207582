"""The installation in which everything is counted: a tenant with hosted pipelines, all in this process."""

import io
import itertools
import json
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from celery import current_app
from celery.app.trace import trace_task
from django.conf import settings
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connections
from redis import Redis

from benchmarks.costs.installation import TENANT
from coordinator.wsgi import application
from executions.lifecycle import outcome
from executions.models import Interaction
from executions.models import Worker as WorkerRow
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.submission import at_once
from executions.transports import celery
from executions.transports.celery import identity_of
from executions.workers import tenant_keys
from executions.workers.registry import DISPATCH_TASK, INSTRUCT_TASK
from foundation import wakeup
from governance.activation.activation import activate
from pipelines.release.descriptor import release as write_release
from pipelines.release.packaging import build
from pipelines.worker.host import Host
from pipelines.worker.hosted_release import HostedRelease, host_source
from pipelines.worker.outcomes import Report
from releases.artifacts.store import artifact_store
from releases.models import Release, WorkerGate
from releases.registration.registrar import UploadedArtifact, register
from releases.registration.verification import verify_release
from tenancy.models import Tenant
from wire.broker.sending import send, take_ticket
from wire.messages.celery_messages import Failure, Outcome, OutcomeGroup, WorkerEnvironment, transition_key
from wire.messages.queues import (
    EXECUTE_TASK,
    HEARTBEAT_TASK,
    INSTRUCTION_TASK,
    OUTCOME_QUEUE,
    RECORD_TASK,
    instruction_queue_of,
    queue_of,
)
from wire.messages.task_messages import TaskMessages

MODULES: Final = ("one_step", "three_steps", "three_checkpointed", "asking")
SCOPES: Final = ("read", "payloads:read", "executions:submit", "executions:operate", "interactions:complete")
CAPACITY: Final = 200
FLEET: Final = 100
ENVIRONMENT: Final = WorkerEnvironment(fingerprint="0" * 64, python="CPython 3.11.0", platform="linux")
"""The reported environment. The real one differs between machines, and so would the bytes."""


class WorldError(Exception):
    """The work that is measured was refused."""


class World:
    """A tenant, an active release of each pipeline, and a worker of each that hosts it in this process."""

    def __init__(self, folder: Path) -> None:
        wakeup.handle_here(DISPATCH_TASK, lambda: None)  # claims and sending are kinds of work themselves
        at_once.MOST_ROWS = 0
        self._keys = itertools.count(1)
        self._redis = Redis.from_url(settings.REDIS_URL)
        self._messages = TaskMessages(accepts=lambda *_: True, unsigned=(EXECUTE_TASK, INSTRUCTION_TASK, RECORD_TASK))
        call_command("createsuperuser", username=TENANT, email="bench@example.org", interactive=False, verbosity=0)
        call_command("create_tenant", TENANT, member=TENANT, stdout=io.StringIO())
        self.tenant = Tenant.objects.get(slug=TENANT)
        printed = io.StringIO()
        call_command("issue_token", TENANT, TENANT, user=TENANT, scope=SCOPES, stdout=printed)
        self._token = printed.getvalue().strip()
        self._folder = folder
        self.workers = {module: Worker(self._hosted(module)) for module in MODULES}
        self.fleet = [Worker(self.workers["one_step"].host.release, f"fleet-{n:03}") for n in range(FLEET)]
        for worker in (*self.workers.values(), *self.fleet):
            self._register(worker.host)

    def _register(self, host: Host) -> None:
        """Let a worker send its first heartbeat, and follow the instruction to accept commands."""
        run_task(HEARTBEAT_TASK, host.heartbeat("HEALTHY"))
        row = WorkerRow.objects.get(worker_id=host.worker_id, pipeline_id=host.release.identity.pipeline_id)
        run_task(INSTRUCT_TASK, row.pk)
        host.follow(self.taken(instruction_queue_of(host.release.identity, host.worker_id))[-1])

    def refresh(self) -> None:
        """Read again what this process would otherwise read again after a second."""
        tenant_keys.cache.clear()
        tenant_keys.active_keys(TENANT)

    def descriptor_of(self, module: str, version: str = "1") -> Path:
        return self._folder / module / version / "pipeline-release.json"

    def _hosted(self, module: str) -> HostedRelease:
        activate(self.register(module, "1"), actor="user:bench")
        return host_source(f"{module}:pipeline", self.descriptor_of(module), TENANT)

    def register(self, module: str, version: str) -> Release:
        """Build, upload and verify a release of the pipeline."""
        descriptor = self.descriptor_of(module, version)
        artifact = build(f"{module}:pipeline", descriptor.parents[1])
        write_release(descriptor.parents[1], [artifact.path], release_version=version)
        staged = artifact_store().stage(limit=10**9)
        staged.write(artifact.path.read_bytes())
        files = [UploadedArtifact(artifact.path.name, staged)]
        upload = register(self.tenant, descriptor.read_bytes(), files, actor="user:bench", worker_gate=WorkerGate.OFF)
        verify_release(upload.release.pk)
        return Release.objects.select_related("pipeline__tenant").get(pk=upload.release.pk)

    def key(self) -> str:
        """Return a new idempotency key. All have the same length."""
        return f"key-{next(self._keys):07}"

    def item(self, module: str = "one_step", key: str = "") -> dict[str, Any]:
        pipeline_id = f"benchmarks.{module.replace('_', '-')}"
        return {"pipelineId": pipeline_id, "input": 1, "idempotencyKey": key or self.key()}

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the API of the tenant in this thread. Returns the JSON document of the response."""
        headers = {"HTTP_AUTHORIZATION": f"Bearer {self._token}", "CONTENT_TYPE": "application/json"}
        content = b"" if body is None else json.dumps(body).encode()
        return json.loads(request(method, f"/api/v1/tenants/{TENANT}/{path}", content, headers))

    def submit(self, module: str = "one_step", count: int = 1, key: str = "") -> list[uuid.UUID]:
        """Submit executions of the pipeline, and return their ids."""
        return [uuid.UUID(self.call("POST", "executions", self.item(module, key))["executionId"]) for _ in range(count)]

    def claims(self, module: str = "one_step", count: int = 1) -> list[Claim]:
        """Submit executions of the pipeline and claim them, when no others are due."""
        self.drain()
        self.submit(module, count)
        return claim_due(count)

    def drain(self) -> None:
        """Claim all that is due, and record that it has succeeded. Remove outcomes that no task will read."""
        self._redis.delete(OUTCOME_QUEUE)
        while claims := claim_due(1000):
            self.complete(claims)

    def complete(self, claims: Sequence[Claim]) -> None:
        for identity, same in groupby(sorted(claims, key=lambda claim: str(identity_of(claim))), key=identity_of):
            outcome.record(identity, OutcomeGroup(worker_id="bench", outcomes=[completed(claim) for claim in same]))

    def command(self, module: str) -> Any:
        """Return the message of a new command, as its worker gets it. Removes it from its queue."""
        claims = self.claims(module)
        celery.send(claims)
        return self.taken(queue_of(identity_of(claims[0])))[-1]

    def taken(self, queue: str) -> list[Any]:
        """Remove the messages from a queue, and return their arguments, oldest first."""
        texts: Any = self._redis.rpop(queue, 1_000_000)
        return [self._messages.read(queue, text).arguments[0] for text in texts or ()]

    def reports_of(self, module: str) -> list[Any]:
        """Run a new execution of the pipeline in its worker. Return the messages with its reports, oldest first."""
        command = self.command(module)
        self._redis.delete(OUTCOME_QUEUE)
        self.workers[module].run(command)
        return self.taken(OUTCOME_QUEUE)

    def asked(self) -> Interaction:
        """Run an execution to its await, and return the question."""
        run_task(RECORD_TASK, self.reports_of("asking")[-1])
        return Interaction.objects.filter(status__in=Interaction.OPEN).latest("created_at")


class Worker:
    """A worker without the loop that receives its messages and the thread that sends its reports.

    That thread sends together what it finds, which depends on the time. Here each report is sent when it is made.
    """

    def __init__(self, release: HostedRelease, worker_id: str = TENANT) -> None:
        release = replace(release, environment=ENVIRONMENT, code="artifact")
        key = tenant_keys.current_key(TENANT)
        self.host = Host(release, key=key, worker_id=worker_id, capacity=CAPACITY, take_ticket=take_ticket)

    def run(self, command: Any) -> None:
        """Run a message of commands, and send what they report."""
        self.host.execute(command, self._send)

    def _send(self, report: Report) -> None:
        send(RECORD_TASK, self.host.sealed([report]), queue=OUTCOME_QUEUE)
        self.host.drop_leases([report])


def request(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Call the web process's application as its server does. Raises `WorldError` for a refusal.

    A request replaces the connection of its thread, and here the same thread continues with other work.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    path, _, query = path.partition("?")
    environment: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        **headers,
    }
    statuses: list[str] = []
    chunks = application(environment, lambda status, _headers, *_: statuses.append(status))
    content = b"".join(chunks)
    if close := getattr(chunks, "close", None):
        close()
    connections[DEFAULT_DB_ALIAS] = connection
    if not statuses[0].startswith("2"):
        raise WorldError(f"{method} {path} was answered with {statuses[0]}: {content.decode()[:500]}")
    return content


def run_task(name: str, *arguments: Any) -> None:
    """Run a task as a control worker does that has received its message."""
    task = current_app.tasks[name]
    identity = str(uuid.uuid4())
    state = {"id": identity, "is_eager": False, "delivery_info": {}}
    result, information, *_ = trace_task(task, identity, arguments, {}, request=state, app=current_app)
    if information is not None:
        raise WorldError(f"{name} failed: {result}")


def claim_due(limit: int) -> list[Claim]:
    claims, _ = moves.claim(owner="bench", limit=limit, lease_seconds=settings.LEASE_SECONDS)
    return claims


def completed(claim: Claim, **members: Any) -> Outcome:
    """Return the outcome of a claim."""
    return Outcome(
        execution_id=claim.execution_id,
        execution_version=claim.version,
        lease_token=claim.lease_token,
        transition_key=transition_key(claim.execution_id, claim.step_index, claim.attempt),
        **{"outcome": "COMPLETED", "output_payloads": ["2"], **members},
    )


def failed_outcome(claim: Claim, *, retryable: bool = True) -> Outcome:
    """Return the outcome of a claim whose step raised an exception."""
    failure = Failure(failure_class="Error0", message="why", retryable=retryable, traceback="x" * 500)
    return completed(claim, outcome="FAILED", output_payloads=[], failure=failure)
