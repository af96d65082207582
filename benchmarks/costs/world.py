"""The installation in which everything is counted: a tenant with hosted pipelines, all in this process."""

import io
import itertools
import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from celery import current_app
from celery.app.trace import trace_task
from django.conf import settings
from django.core.management import call_command
from redis import Redis

from coordinator.wsgi import application
from executions.lifecycle import outcome
from executions.state_machine import moves
from executions.state_machine.moves import Claim
from executions.transports import celery
from executions.transports.celery import identity_of
from executions.workers import tenant_keys
from pipelines.release.descriptor import release as write_release
from pipelines.release.packaging import build
from pipelines.worker.host import Host
from pipelines.worker.hosted_release import HostedRelease, host_source
from pipelines.worker.outbox import Outbox, Report
from releases.activation.activation import activate
from releases.artifacts.store import artifact_store
from releases.models import Release, WorkerGate
from releases.registration.registrar import UploadedArtifact, register, verify_release
from tenancy.models import Tenant
from wire.broker.client import send, take_ticket
from wire.messages.celery_messages import Failure, Outcome, OutcomeGroup, WorkerEnvironment, transition_key
from wire.messages.queues import EXECUTE_TASK, HEARTBEAT_TASK, OUTCOME_QUEUE, RECORD_TASK, queue_of
from wire.messages.task_messages import TaskMessages

TENANT: Final = "bench"
PIPELINES: Final = Path(__file__).parents[1] / "pipelines"
MODULES: Final = ("one_step", "three_steps", "three_checkpointed", "asking")
SCOPES: Final = ("read", "payloads:read", "executions:submit", "interactions:complete")
CAPACITY: Final = 200
FLEET: Final = 100
FAILURE: Final = Failure(failure_class="Error0", message="why", retryable=True, traceback="x" * 500)
ENVIRONMENT: Final = WorkerEnvironment(fingerprint="0" * 64, python="CPython 3.11.0", platform="linux")
"""The reported environment. The real one differs between machines, and so would the bytes."""


class WorldError(Exception):
    """The work that is measured was refused."""


class World:
    """A tenant, an active release of each pipeline, and a worker of each that hosts it in this process."""

    def __init__(self, folder: Path) -> None:
        self._keys = itertools.count(1)
        self._redis = Redis.from_url(settings.REDIS_URL)
        self._messages = TaskMessages(accepts=lambda *_: True, unsigned=(EXECUTE_TASK, RECORD_TASK))
        call_command("createsuperuser", username=TENANT, email="bench@example.org", interactive=False, verbosity=0)
        call_command("create_tenant", TENANT, member=TENANT, stdout=io.StringIO())
        self.tenant = Tenant.objects.get(slug=TENANT)
        printed = io.StringIO()
        call_command("issue_token", TENANT, TENANT, user=TENANT, scope=SCOPES, stdout=printed)
        self._token = printed.getvalue().strip()
        sys.path.insert(0, str(PIPELINES))
        self._folder = folder
        self.workers = {module: Worker(self._hosted(module)) for module in MODULES}
        self.fleet = [Worker(self.workers["one_step"].host.release, f"fleet-{n:03}") for n in range(FLEET)]
        for worker in (*self.workers.values(), *self.fleet):
            run_task(HEARTBEAT_TASK, worker.host.heartbeat("HEALTHY"))

    def descriptor_of(self, module: str, version: str = "1") -> Path:
        return self._folder / f"{module}-{version}" / "pipeline-release.json"

    def _hosted(self, module: str) -> HostedRelease:
        activate(self.register(module, "1"), actor="user:bench")
        return host_source(f"{module}:pipeline", self.descriptor_of(module), TENANT)

    def register(self, module: str, version: str) -> Release:
        """Build, upload and verify a release of the pipeline."""
        descriptor = self.descriptor_of(module, version)
        artifact = build(f"{module}:pipeline", descriptor.parent)
        write_release(descriptor.parent, release_version=version)
        staged = artifact_store().stage(limit=10**9)
        staged.write(artifact.path.read_bytes())
        files = [UploadedArtifact(artifact.path.name, staged)]
        upload = register(
            self.tenant, descriptor.read_bytes(), files, actor="user:bench", worker_gate=WorkerGate.OFF
        )
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
        """Submit executions, and keep what this process knows for a second fresh."""
        tenant_keys.active_keys(TENANT)
        return [uuid.UUID(self.call("POST", "executions", self.item(module, key))["executionId"]) for _ in range(count)]

    def claims(self, module: str = "one_step", count: int = 1) -> list[Claim]:
        """Submit executions of the pipeline and claim them, when no others are due."""
        self.drain()
        self.submit(module, count)
        return claim_due(count)

    def drain(self) -> None:
        """Claim all that is due, and record that it has succeeded."""
        while claims := claim_due(1000):
            self.complete(claims)

    def complete(self, claims: Sequence[Claim]) -> None:
        for identity, same in groupby(sorted(claims, key=lambda claim: str(identity_of(claim))), key=identity_of):
            outcome.record(identity, OutcomeGroup(worker_id="bench", outcomes=[completed(claim) for claim in same]))

    def command(self, module: str) -> Any:
        """Return the message of a new command, as its worker gets it. Removes it from its queue."""
        claims = self.claims(module)
        celery.send(claims)
        return self.taken(queue_of(identity_of(claims[0])))

    def taken(self, queue: str) -> Any:
        """Remove the oldest message from a queue and return its argument."""
        text = self._redis.rpop(queue)
        if not isinstance(text, bytes):
            raise WorldError(f"There is no message in {queue}.")
        [argument] = self._messages.read(queue, text).arguments
        return argument

    def outcome_of(self, module: str) -> Any:
        """Run a new execution of the pipeline in its worker. Return the message with its outcome."""
        self._redis.delete(OUTCOME_QUEUE)
        self.workers[module].run(self.command(module))
        return self.taken(OUTCOME_QUEUE)


class Worker:
    """A transition worker without the loop that receives its messages."""

    def __init__(self, release: HostedRelease, worker_id: str = "bench") -> None:
        key = tenant_keys.current_key(TENANT)
        release = replace(release, environment=ENVIRONMENT, code="artifact")
        self.host = Host(release, key=key, worker_id=worker_id, capacity=CAPACITY, take_ticket=take_ticket)
        self._sent = threading.Event()
        self._outbox: Outbox | None = None

    def run(self, command: Any) -> None:
        """Run a message of commands, and send its outcomes from the thread that does so in a worker."""
        if self._outbox is None:
            self._outbox = Outbox(self._send, self._done)
            self._outbox.start()
        self._sent.clear()
        self.host.execute(command, self._outbox.put)
        if not self._sent.wait(30):
            raise WorldError("The worker did not report an outcome.")

    def _send(self, reports: Sequence[Report]) -> None:
        send(RECORD_TASK, self.host.sealed(reports), queue=OUTCOME_QUEUE)

    def _done(self, reports: Sequence[Report]) -> None:
        self.host.drop_leases(reports)
        if any(report.outcome for report in reports):
            self._sent.set()


def request(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Call the web process's application as its server does. Raises `WorldError` for a refusal."""
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
