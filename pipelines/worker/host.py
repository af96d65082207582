"""Hosts one release: checks that the code here is that release, and executes the commands that are meant for it.

No broker of its own; `celery_worker` brings it.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.authoring.compiler import compile_contract
from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.loading import load
from pipelines.errors import DefinitionError
from pipelines.failures import Failed, failed_by, inform, message_of, report, warn
from pipelines.release.packaging import artifact_digest
from pipelines.worker import answers
from pipelines.worker.acceptance import Acceptance
from pipelines.worker.boundary import Boundary
from pipelines.worker.held_leases import HeldLeases
from pipelines.worker.outbox import Answer
from pipelines.worker.pace import Pace
from pipelines.worker.runner import UNDECODABLE_PAYLOAD, Keep, run
from pipelines.worker.runner import Outcome as RunOutcome
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES, Descriptor, parse_descriptor
from wire.findings import DocumentError
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import (
    Checkpoint,
    Command,
    CommandGroup,
    Heartbeat,
    Instruction,
    Outcome,
    OutcomeGroup,
    WorkerState,
)
from wire.messages.limits import TOLERANCE
from wire.messages.notices import refusal_of
from wire.messages.queues import ticket_of
from wire.messages.sealing import ProtocolError, check_fresh, decode, seal, verify
from wire.worker_keys import WorkerKey


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
    pipeline.close()
    identity = ReleaseIdentity(tenant, descriptor.pipeline_id, descriptor.contract_version, descriptor.release_version)
    # A release of images alone pins no artifact that this code can be compared with, so it names none.
    return HostedRelease(pipeline, identity, stored.get(digest, ""), digest if stored else "")


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

    def __init__(
        self,
        release: HostedRelease,
        *,
        key: WorkerKey,
        worker_id: str,
        capacity: int,
        take_ticket: Callable[[str], bool],
    ) -> None:
        """`take_ticket` takes the ticket of that name from the broker. It returns True at most once per name."""
        self.release = release
        self.worker_id = worker_id
        self.capacity = capacity
        self.shortest_lease = timedelta(seconds=30)
        self.changed = threading.Event()  # set when heartbeats must come sooner than they did
        self._key = key
        self._take_ticket = take_ticket
        self._encrypts = True  # as the coordinator does in its commands
        self._places = threading.Semaphore(capacity)
        self._threads = ThreadPoolExecutor(capacity, thread_name_prefix="transition")
        self.acceptance = Acceptance(release.identity.tenant_id)
        self._leases = HeldLeases()
        self._pace = Pace()
        self._boundary = Boundary()
        self._obeyed: datetime | None = None  # when the newest order that was obeyed was sent
        self._taking = False

    @property
    def taking(self) -> bool:
        """True if this worker accepts commands. False until the first order, because the worker may be draining.

        Also False while coordinators refuse its key, because it cannot read the commands.
        """
        return self._taking and not self.acceptance.is_locked_out

    def obey(self, message: Any) -> None:
        """Obey a signed order: accept commands, or finish the current ones and accept no more; and drop lost leases.

        An order is ignored, with a log line, if it is not signed, is for another release or worker, is older than
        `TOLERANCE`, or was not sent after the newest order that was obeyed. So an order can be neither replayed nor
        overtaken. A refusal is unsigned: it goes to `acceptance` and changes nothing here. Call this from one thread.
        """
        refusal = refusal_of(message)
        if refusal is not None:
            self.acceptance.refused(refusal)
            return
        try:
            verified = verify(message, lambda _tenant: (self._key,))
            order = decode(verified, Instruction)
            if (verified.identity, order.worker_id) != (self.release.identity, self.worker_id):
                raise ProtocolError("ORDER_MISDIRECTED", f"It is for worker {order.worker_id} of {verified.identity}.")
            sent = check_fresh(verified, now=datetime.now(UTC))
            if self._obeyed is not None and sent <= self._obeyed:
                raise ProtocolError("ORDER_OUTDATED", "A newer order was obeyed before.")
        except ProtocolError as error:
            warn("Ignored an order: %s: %s", error.code, error)
            return
        if self._obeyed is None or self._taking is order.drain:
            inform("Ordered to %s", "drain" if order.drain else "take commands")
        self._obeyed, self._taking = sent, not order.drain
        self.acceptance.accepted()
        self._leases.lose(order.lost_leases)
        self.changed.set()

    def execute(self, message: Any, tell: Callable[[Answer], None]) -> None:
        """Run a signed group of commands and `tell` what becomes of each, as it comes, from the threads that run them.

        The signature comes first, then the ticket, then the identity; only for what is meant for this very release are
        payloads decoded and steps run. At most one worker answers a message: the one that takes its ticket. Messages
        that are unsigned, too old or taken get no answer; their leases expire. Raises what `take_ticket` raises.
        Returns once all have run. The lease of a command with an outcome is held until `let_go`. No other lease is
        held when this returns or raises.
        """
        try:
            verified = verify(message, lambda _tenant: (self._key,))
            commands = decode(verified, CommandGroup).commands
            lease = timedelta(seconds=min(command.lease_seconds for command in commands))
            check_fresh(verified, now=datetime.now(UTC), longest=lease + TOLERANCE)
        except ProtocolError as error:
            warn("Refused a command message: %s: %s", error.code, error)
            return
        if not self._take_ticket(ticket_of(verified.identity, verified.envelope.nonce)):
            warn("Refused a command message: COMMAND_TAKEN: another worker has taken it, or it has expired")
            return
        if verified.identity != self.release.identity:
            for command in commands:
                refused = answers.mismatch(command, verified.identity, self.release.identity)
                tell(Answer(verified.identity, outcome=refused))
            return
        self._encrypts = verified.seal.encrypted
        if lease < self.shortest_lease:
            self.shortest_lease = lease
            self.changed.set()
        new = self._leases.take(commands)
        rest = deque(new)
        try:
            self._run_all(rest, min(len(new), self.capacity), tell)
        finally:
            self._leases.drop([command.lease_token for command in list(rest)])  # another thread may take one

    def _run_all(self, rest: deque[Command], threads: int, tell: Callable[[Answer], None]) -> None:
        """This thread and as many others as there are places take one command after the other: a slow one holds up
        only its own. Whatever messages they belong to, never more run at once than there are places."""

        def work() -> None:
            while True:
                with self._places:
                    try:
                        command = rest.popleft()
                    except IndexError:
                        return
                    if self._leases.begin(command.lease_token):
                        self._run_and_tell(command, tell)

        others: list[Future[None]] = []
        try:
            others += (self._threads.submit(work) for _ in range(threads - 1))
        except RuntimeError as error:
            warn("No other thread can be started: %s", error)
        work()
        wait(others)

    def _run_and_tell(self, command: Command, tell: Callable[[Answer], None]) -> None:
        """Run one command and pass its outcome to `tell`. Never raises: if `tell` raises, the lease is dropped."""
        try:
            answer = self._run(command, tell)
            if self._leases.end(command.lease_token):
                self.changed.set()  # the coordinator counts this thread as abandoned
            tell(answer)
        except BaseException as error:
            self._leases.drop([command.lease_token])
            report(command.execution_id, failed_by(error))

    def sealed(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Answers about one release, signed and ready for the coordinator."""
        group = OutcomeGroup(
            worker_id=self.worker_id,
            outcomes=[answer.outcome for answer in answers if answer.outcome],
            checkpoints=[answer.checkpoint for answer in answers if answer.checkpoint],
        )
        return seal(answers[0].identity, group, self._key, encrypt=self._encrypts)

    def let_go(self, sent: Sequence[Answer]) -> None:
        """Drop the leases of the outcomes in `sent`, which the coordinator has received."""
        self._leases.drop([answer.lease_token for answer in sent if answer.outcome])
        if not self.taking:
            self.changed.set()  # an operator may be waiting for the last lease

    def heartbeat(self, state: WorkerState) -> dict[str, Any]:
        """A signed sign of life that also renews the leases held at this moment."""
        in_hand = self._leases.in_hand()
        beat = Heartbeat(
            worker_id=self.worker_id,
            state=state,
            capacity=self.capacity,
            artifact_id=self.release.artifact_id,
            artifact_digest=self.release.artifact_digest,
            taking=self.taking and state == "HEALTHY",
            answered=self._obeyed is not None,
            transition_seconds=self._pace.told(),
            running=in_hand.running,
            waiting=in_hand.waiting,
            abandoned=in_hand.abandoned,
        )
        message = seal(self.release.identity, beat, self._key)
        self.acceptance.asked(message["nonce"])
        return message

    def _run(self, command: Command, tell: Callable[[Answer], None]) -> Answer:
        identity = self.release.identity
        reached: list[Checkpoint] = []

        def keep(next_step_index: int, outputs: list[Any], many: bool) -> None:
            checkpoint = answers.checkpoint_of(command, next_step_index, outputs, many=many)
            if checkpoint is None:
                warn("A checkpoint of execution %s is too large to be kept", command.execution_id)
                return
            reached[:] = [checkpoint]
            tell(Answer(identity, checkpoint=checkpoint))

        with self._pace.measured(partial(self._leases.is_lost, command.lease_token)) as pace_is_news:
            outcome = self._boundary.run(
                command.execution_id,
                lambda: self._outcome(command, keep if command.checkpoints else None),
                lambda failed: answers.failed(command, failed),
            )
        if pace_is_news():
            self.changed.set()
        failed = outcome.outcome == "FAILED"
        return Answer(identity, outcome=outcome, checkpoint=reached[0] if failed and reached else None)

    def _outcome(self, command: Command, keep: Keep | None) -> Outcome:
        steps = len(self.release.pipeline.parts)
        outcome = answers.outcome_of(command, self._ran(command, keep, steps), steps=steps)
        if outcome.failure is not None:
            report(command.execution_id, outcome.failure)
        return outcome

    def _ran(self, command: Command, keep: Keep | None, steps: int) -> RunOutcome:
        identity = self.release.identity
        context = StepContext(
            tenant_id=identity.tenant_id,
            execution_id=str(command.execution_id),
            pipeline_id=identity.pipeline_id,
            contract_version=identity.contract_version,
            release_version=identity.release_version,
            attempt=command.attempt,
            transition_key=command.transition_key,
            cancellation=partial(self._leases.is_lost, command.lease_token),
        )
        try:
            return run(
                self.release.pipeline,
                json.loads(command.payload),
                start=command.current_step_index,
                # After an await that came last no step is left to run, nor to stop before: the answer is the result.
                stop=steps if command.current_step_index == steps else command.stop_before_step_index,
                context=context,
                shape=command.shape,
                keep=keep,
            )
        except ValueError as error:
            return Failed(UNDECODABLE_PAYLOAD, message_of("", str(error)), retryable=False)
