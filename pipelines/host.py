"""Hosts one release: checks that the code here is that release, and executes the commands that are meant for it.

No broker and no threads of its own; `celery_worker` brings both.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from coordinator.findings import DocumentError
from executions.protocol import (
    TOLERANCE,
    Command,
    CommandGroup,
    Envelope,
    Failure,
    Heartbeat,
    HeldLease,
    Order,
    Outcome,
    OutcomeGroup,
    ProtocolError,
    Suspension,
    WorkerState,
    check_fresh,
    decode,
    seal,
    verify,
)
from pipelines.compiler import compile_contract
from pipelines.definition import Pipeline, StepContext
from pipelines.errors import DefinitionError
from pipelines.loading import load
from pipelines.packaging import artifact_digest
from pipelines.runner import UNDECODABLE_PAYLOAD, Completed, Failed, Suspended, run
from pipelines.runner import Outcome as RunOutcome
from releases.descriptor import MAX_DESCRIPTOR_BYTES, Descriptor, parse_descriptor
from releases.identity import ReleaseIdentity

log = logging.getLogger(__name__)
REMEMBERED_LEASES = 10_000


@dataclass(frozen=True)
class HostedRelease:
    """Code that was found to be the release it says it is."""

    pipeline: Pipeline
    identity: ReleaseIdentity
    artifact_id: str
    artifact_digest: str


def host_release(reference: str, descriptor_path: Path, tenant: str) -> HostedRelease:
    """Load MODULE:NAME and hold it against its release.

    The code must compile to the release's contract, and where the release pins an artifact by its bytes, the code
    must rebuild to exactly those. Raises `DefinitionError`: those of `load` and `compile_contract`, INVALID_RELEASE,
    PIPELINE_MISMATCH, CONTRACT_MISMATCH, ARTIFACT_MISMATCH.
    """
    descriptor = _read(descriptor_path)
    pipeline = load(reference)
    if pipeline.pipeline_id != descriptor.pipeline_id:
        raise DefinitionError(
            "PIPELINE_MISMATCH",
            f"{reference} is pipeline {pipeline.pipeline_id}, but the release is of {descriptor.pipeline_id}",
        )
    compiled = compile_contract(pipeline)["contractVersion"]
    if compiled != descriptor.contract_version:
        raise DefinitionError(
            "CONTRACT_MISMATCH",
            f"{reference} compiles to contract {compiled}, but the release pins {descriptor.contract_version}; "
            "host the code of that release, or build and release this code",
        )
    digest = artifact_digest(pipeline)
    stored = {artifact.digest: artifact.artifact_id for artifact in descriptor.artifacts if artifact.kind.is_stored}
    if stored and digest not in stored:
        raise DefinitionError(
            "ARTIFACT_MISMATCH",
            f"{reference} builds to {digest}, but the release pins {', '.join(stored)}; "
            "host the code of that release, or build and release this code",
        )
    identity = ReleaseIdentity(tenant, descriptor.pipeline_id, descriptor.contract_version, descriptor.release_version)
    return HostedRelease(pipeline, identity, stored.get(digest, ""), digest)


def _read(path: Path) -> Descriptor:
    try:
        with path.open("rb") as file:
            return parse_descriptor(file.read(MAX_DESCRIPTOR_BYTES + 1))
    except OSError as error:
        raise DefinitionError("INVALID_RELEASE", f"cannot read {path}: {error.strerror}") from error
    except DocumentError as error:
        raise DefinitionError("INVALID_RELEASE", f"{path} is no release descriptor: {error}") from error


class Host:
    """Executes command groups for one release and knows which leases it holds. Safe to use from many threads."""

    def __init__(self, release: HostedRelease, *, key: str, worker_id: str, capacity: int) -> None:
        self.release = release
        self.worker_id = worker_id
        self.capacity = capacity
        self.shortest_lease = timedelta(seconds=30)
        self.changed = threading.Event()  # set when heartbeats must come sooner than they did
        self._key = key
        self._lock = threading.Lock()
        self._running: dict[uuid.UUID, uuid.UUID] = {}  # lease token to execution: one may be run under two leases
        self._seen: OrderedDict[uuid.UUID, None] = OrderedDict()
        self._obeyed: datetime | None = None  # when the newest order that was obeyed was sent
        self._taking = False

    @property
    def taking(self) -> bool:
        """Whether commands are to be taken. Not before the coordinator said so: it may be that this worker drains."""
        return self._taking

    def obey(self, message: Any) -> None:
        """Heed a signed order to take commands, or to finish what there is and take no more.

        Ignored, with a log line, is what is not signed, is for another release or worker, is older than `TOLERANCE`,
        or was not sent after the newest order that was obeyed: so no order can be replayed, nor overtake another.
        Call it from one thread.
        """
        try:
            envelope = verify(message, lambda _tenant: self._key)
            order = decode(envelope, Order)
            if (envelope.identity, order.worker_id) != (self.release.identity, self.worker_id):
                raise ProtocolError("ORDER_MISDIRECTED", f"It is for worker {order.worker_id} of {envelope.identity}.")
            sent = check_fresh(envelope, now=datetime.now(UTC))
            if self._obeyed is not None and sent <= self._obeyed:
                raise ProtocolError("ORDER_OUTDATED", "A newer order was obeyed before.")
        except ProtocolError as error:
            log.warning("Ignored an order: %s: %s", error.code, error)
            return
        self._obeyed, self._taking = sent, not order.drain
        self.changed.set()
        log.info("Ordered to %s", "drain" if order.drain else "take commands")

    def execute(self, message: Any) -> dict[str, Any] | None:
        """Run a signed group of commands and return the signed group of outcomes; None where there is nothing to say.

        The signature comes first, then the identity; only for what is meant for this very release are payloads
        decoded and steps run. What is not signed, too old, or was run before gets no answer: leases see to it.
        """
        try:
            envelope = verify(message, lambda _tenant: self._key)
            commands = decode(envelope, CommandGroup).commands
            lease = timedelta(seconds=min(command.lease_seconds for command in commands))
            check_fresh(envelope, now=datetime.now(UTC), longest=lease + TOLERANCE)
        except ProtocolError as error:
            log.warning("Refused a command message: %s: %s", error.code, error)
            return None
        if envelope.identity != self.release.identity:
            return self._answer(envelope, [self._mismatch(envelope, command) for command in commands])
        if lease < self.shortest_lease:
            self.shortest_lease = lease
            self.changed.set()
        fresh = [command for command in commands if self._is_new(command)]
        with self._holding(fresh):
            outcomes = [self._run(command) for command in fresh]
        return self._answer(envelope, outcomes) if outcomes else None

    def heartbeat(self, state: WorkerState) -> dict[str, Any]:
        """A signed sign of life that also renews the leases held at this moment."""
        with self._lock:
            held = [HeldLease(execution_id=key, lease_token=token) for token, key in self._running.items()]
        beat = Heartbeat(
            worker_id=self.worker_id,
            state=state,
            capacity=self.capacity,
            artifact_id=self.release.artifact_id,
            artifact_digest=self.release.artifact_digest,
            taking=self.taking and state == "HEALTHY",
            running=held,
        )
        return seal(self.release.identity, beat, self._key)

    def _answer(self, envelope: Envelope, outcomes: list[Outcome]) -> dict[str, Any]:
        return seal(envelope.identity, OutcomeGroup(worker_id=self.worker_id, outcomes=outcomes), self._key)

    def _is_new(self, command: Command) -> bool:
        """False for a lease that was seen before: a message delivered twice, or replayed."""
        with self._lock:
            if command.lease_token in self._seen:
                log.warning("Dropped a repeated command for execution %s", command.execution_id)
                return False
            self._seen[command.lease_token] = None
            while len(self._seen) > REMEMBERED_LEASES:
                self._seen.popitem(last=False)
            return True

    @contextmanager
    def _holding(self, commands: list[Command]) -> Iterator[None]:
        with self._lock:
            self._running.update({command.lease_token: command.execution_id for command in commands})
        try:
            yield
        finally:
            with self._lock:
                for command in commands:
                    self._running.pop(command.lease_token, None)
            if not self.taking:
                self.changed.set()  # somebody may be waiting for the last of them

    def _run(self, command: Command) -> Outcome:
        identity = self.release.identity
        context = StepContext(
            tenant_id=identity.tenant_id,
            execution_id=str(command.execution_id),
            pipeline_id=identity.pipeline_id,
            contract_version=identity.contract_version,
            release_version=identity.release_version,
            attempt=command.attempt,
            transition_key=command.transition_key,
        )
        try:
            payload = json.loads(command.payload)
            outcome = run(
                self.release.pipeline,
                payload,
                start=command.current_step_index,
                stop=_stop(command, steps=len(self.release.pipeline.parts)),
                context=context,
                shape=command.shape,
            )
        except ValueError as error:
            return _failed(command, Failure(failure_class=UNDECODABLE_PAYLOAD, message=str(error), retryable=False))
        return _outcome(command, outcome, steps=len(self.release.pipeline.parts))

    def _mismatch(self, envelope: Envelope, command: Command) -> Outcome:
        message = f"Transition command targets {envelope.identity} but local worker is {self.release.identity}"
        return _failed(command, Failure(failure_class="IDENTITY_MISMATCH", message=message, retryable=False))


def _stop(command: Command, steps: int) -> int:
    """After an await that came last no step is left to run, nor to stop before: the answer is the result."""
    return steps if command.current_step_index == steps else command.stop_before_step_index


def _outcome(command: Command, outcome: RunOutcome, steps: int) -> Outcome:
    if isinstance(outcome, Completed):
        outputs = [json.dumps(output, ensure_ascii=False) for output in outcome.outputs]
        stopped = command.stop_before_step_index
        return _base(command)(
            outcome="COMPLETED",
            output_payloads=outputs,
            many=outcome.many,
            stopped_before_step_index=stopped if stopped < steps else -1,
        )
    if isinstance(outcome, Failed):
        failure = Failure(
            failure_class=outcome.failure_class,
            message=outcome.message,
            retryable=outcome.retryable,
            step_index=outcome.step_index,
        )
        return _failed(command, failure)
    return _base(command)(outcome="WAITING_EXTERNAL", suspension=_suspension(outcome))


def _suspension(suspended: Suspended) -> Suspension:
    """What the author wrote of the await, with the values to ask about."""
    waits = suspended.step.waits
    if waits is None:
        raise TypeError(f"step {suspended.step.name} is no await")
    cardinality = suspended.step.cardinality
    return Suspension(
        step_index=suspended.step_index,
        step_id=waits.step_id,
        itemized=suspended.itemized,
        gives_many=suspended.itemized or cardinality.gives_many,
        requests=[json.dumps(request, ensure_ascii=False) for request in suspended.requests],
        request_shape="MULTI" if cardinality.takes_many else "UNI",
        output_type=suspended.step.output.type_id,
        transport=waits.transport,
        transport_metadata=dict(waits.transport_metadata),
        timeout_seconds=waits.timeout.total_seconds(),
        assignee=waits.assignee,
        group=waits.group,
    )


def _failed(command: Command, failure: Failure) -> Outcome:
    return _base(command)(outcome="FAILED", failure=failure)


def _base(command: Command) -> Callable[..., Outcome]:
    def make(**members: Any) -> Outcome:
        return Outcome(
            execution_id=command.execution_id,
            execution_version=command.execution_version,
            lease_token=command.lease_token,
            transition_key=command.transition_key,
            **members,
        )

    return make
