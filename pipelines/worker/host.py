"""Hosts one release: executes the commands for it, and knows which leases it holds.

Uses no broker; `celery_worker` connects it to one.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import nsmallest
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from pipelines.failures import UNDECODABLE_PAYLOAD, Boundary, Failed, failed_by, inform, log_failure, message_of, warn
from pipelines.step_reports import current
from pipelines.worker import outcomes
from pipelines.worker.host_state import NO_WORK, Acceptance, HeldLeases, Lease
from pipelines.worker.hosted_release import HostedRelease
from pipelines.worker.outcomes import Reached, Report
from pipelines.worker.printed import end_lines
from pipelines.worker.run_results import RunResult, StepTimes
from pipelines.worker.runner import Keep
from pipelines.worker.supervision import Supervisor
from wire.log_lines import bound
from wire.messages.celery_messages import (
    MOST_REPORTS,
    TOLERANCE,
    Command,
    CommandGroup,
    Heartbeat,
    Instruction,
    LeaseReport,
    Outcome,
    OutcomeGroup,
    WorkerState,
)
from wire.messages.queues import ticket_of
from wire.messages.sealing import ProtocolError, check_fresh, decode, refusal_of, seal, verify
from wire.messages.step_reports import MOST_LIVE_LINES
from wire.worker_keys import WorkerKey

if TYPE_CHECKING:
    from pipelines.worker.failed_items import Failing
    from pipelines.worker.item_steps import FinishedItems, KeepItems
    from pipelines.worker.tracing import Tracer, Transition


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
        tracer: Tracer | None = None,
        replaceable: int | None = None,
        restart_at: int | None = None,
    ) -> None:
        """`take_ticket` takes the ticket of that name from the broker. It returns True at most once per name.

        Without a `tracer`, transitions of traced executions make no spans. `replaceable` and `restart_at` are those of
        the `Supervisor`; by default, as many threads are replaceable as `capacity`.
        """
        self.release = release
        self.worker_id = worker_id
        self.capacity = capacity
        self.shortest_lease = timedelta(seconds=30)
        self.changed = threading.Event()  # set when the next heartbeat must be sent early
        self.supervisor = Supervisor(
            replaceable=capacity if replaceable is None else replaceable,
            restart_at=restart_at,
            changed=self.changed.set,
        )
        self._key = key
        self._take_ticket = take_ticket
        self._tracer = tracer
        self._encrypts = True  # follows the coordinator's newest command
        self._places: SimpleQueue[None] = SimpleQueue()  # one entry for each free place: a semaphore in C
        for _ in range(capacity):
            self._places.put(None)
        self._threads = ThreadPoolExecutor(capacity, thread_name_prefix="transition")
        self.acceptance = Acceptance(release.identity.tenant_id)
        self.leases = HeldLeases(self.progressed)
        self._boundary = Boundary()
        self._followed: datetime | None = None  # when the newest instruction that was followed was sent
        self._accepting = False
        self.has_progress = False  # the newest heartbeat had reports, or the next one will
        self._indexes = {part.name: index for index, part in enumerate(release.pipeline.parts)}
        self._explained: str | None = None

    @property
    def accepting(self) -> bool:
        """True if this worker accepts commands. False until the first instruction, because it may be draining.

        Also False while coordinators refuse its key, because it cannot read the commands, and once too many of its
        threads are abandoned.
        """
        return self._accepting and not self.acceptance.is_locked_out and not self.supervisor.must_restart

    def follow(self, message: Any) -> None:
        """Follow a signed instruction: accept commands or finish the current ones and accept no more; drop lost leases.

        An instruction is ignored, with a log line, if it is not signed, is for another release or worker, is older than
        `TOLERANCE`, or was not sent after the newest one that was followed. So instructions cannot be replayed or
        reordered. A refusal is unsigned: it goes to `acceptance` and changes nothing here. Call this from one thread.
        """
        refusal = refusal_of(message)
        if refusal is not None:
            self.acceptance.refused(refusal)
            return
        try:
            verified = verify(message, lambda _tenant: (self._key,))
            instruction = decode(verified, Instruction)
            if (verified.identity, instruction.worker_id) != (self.release.identity, self.worker_id):
                raise ProtocolError(
                    "ORDER_MISDIRECTED", f"It is for worker {instruction.worker_id} of {verified.identity}."
                )
            sent = check_fresh(verified, now=datetime.now(UTC))
            if self._followed is not None and sent <= self._followed:
                raise ProtocolError("ORDER_OUTDATED", "A newer instruction was followed before.")
        except ProtocolError as error:
            warn("Ignored an instruction: %s: %s", error.code, error)
            return
        if self._followed is None or self._accepting is instruction.drain:
            inform("Instructed to %s", "drain" if instruction.drain else "accept commands")
        self._followed, self._accepting = sent, not instruction.drain
        self._explain(instruction.ineligible_reason)
        self.acceptance.accepted()
        self.leases.lose(instruction.lost_leases)
        self.changed.set()

    def _explain(self, reason: str | None) -> None:
        """Log why this worker gets no work, once for each reason in a row."""
        if reason != self._explained and reason in NO_WORK:
            warn("%s: this worker gets no work: %s", reason, NO_WORK[reason].format(identity=self.release.identity))
        self._explained = reason

    def execute(self, message: Any, report: Callable[[Report], None]) -> None:
        """Run a signed group of commands, and pass checkpoints and outcomes to `report` from the threads that run them.

        Checks the signature, then the ticket, then the identity. Payloads are decoded and steps run only if the message
        is for this release. At most one worker reports on a message: the one that takes its ticket. Messages that are
        unsigned, too old or taken cause no report, so their leases expire. Raises what `take_ticket` raises. Returns
        when all commands have run. The lease of a command with an outcome is held until `drop_leases`. No other lease
        is held when this returns or raises.
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
                refused = outcomes.mismatch(command, verified.identity, self.release.identity)
                report(Report(verified.identity, outcome=refused))
            return
        self._encrypts = verified.seal.encrypted
        if lease < self.shortest_lease:
            self.shortest_lease = lease
            self.changed.set()
        new = self.leases.take(commands)
        rest = deque(new)
        try:
            self._run_all(rest, min(len(new), self.capacity), report)
        finally:
            self.leases.drop([command.lease_token for command in list(rest)])  # another thread may take one

    def _run_all(self, rest: deque[Command], threads: int, report: Callable[[Report], None]) -> None:
        """Run all commands in this thread and `threads - 1` others. Each thread takes one command after the other.

        So a slow command delays no other. At most `capacity` commands run at once, of all messages together.
        """

        def work() -> None:
            while True:
                self._places.get()
                try:
                    command = rest.popleft()
                    if (lease := self.leases.begin(command.lease_token)) is not None:
                        self._run_and_report(command, lease, report)
                        if self.supervisor.is_short:
                            self.supervisor.occupy()
                except IndexError:
                    return
                finally:
                    self._places.put(None)

        others: list[Future[None]] = []
        try:
            others += (self._threads.submit(work) for _ in range(threads - 1))
        except RuntimeError as error:
            warn("No other thread can be started: %s", error)
        work()
        if others:
            wait(others)

    def _run_and_report(self, command: Command, lease: Lease, report: Callable[[Report], None]) -> None:
        """Run one command and pass its outcome to `report`. Never raises: if `report` raises, the lease is dropped."""
        try:
            ended = self._run(command, lease, report)
            if self.leases.end(lease):
                self.changed.set()
            report(ended)
        except BaseException as error:
            self.leases.drop([command.lease_token])
            log_failure(command.execution_id, failed_by(error))

    def sealed(self, reports: Sequence[Report]) -> dict[str, Any]:
        """Return one signed message for the coordinator with reports about one release."""
        environment = self.release.environment
        group = OutcomeGroup(
            worker_id=self.worker_id,
            artifact_digest=self.release.artifact_digest,
            code=self.release.code,
            environment=environment.fingerprint if environment else "",
            durable_pipelines=environment.durable_pipelines if environment else "",
            outcomes=[report.outcome for report in reports if report.outcome],
            checkpoints=[report.reached.checkpoint() for report in reports if report.reached],
            items=[group for report in reports for group in report.items],
        )
        return seal(reports[0].identity, group, self._key, encrypt=self._encrypts)

    def drop_leases(self, sent: Sequence[Report]) -> None:
        """Drop the leases of the outcomes in `sent`, which the broker has received."""
        self.leases.drop([report.lease_token for report in sent if report.outcome])
        if not self.accepting:
            self.changed.set()  # an operator may be waiting for the last lease

    def progressed(self) -> None:
        """Let the next heartbeat be sent early, because a step has reported progress."""
        if not self.has_progress:
            self.has_progress = True
            self.changed.set()

    def _reports(self, reporting: Mapping[uuid.UUID, Lease]) -> list[LeaseReport]:
        """Return the reports of running steps that are new, with their newest lines.

        If there are more than fit, those are left for the next heartbeat that were sent last.
        """
        reports_due = []
        all_reports = [(lease.reports, token, lease) for token, lease in reporting.items() if lease.reports]
        new = [report for report in all_reports if report[0].has_news]
        for reports, token, lease in nsmallest(MOST_REPORTS, new, key=lambda report: report[0].sent_at):
            report = reports.take(self._indexes, lines=MOST_LIVE_LINES)
            if report:
                named: dict[str, Any] = {
                    "execution_id": lease.execution_id,
                    "lease_token": token,
                    "transition_key": lease.transition_key,
                }
                reports_due.append(LeaseReport(**named, **dict(report)))
        self.has_progress = self.has_progress or any(
            report.done is not None or report.details for report in reports_due
        )
        return reports_due

    def heartbeat(self, state: WorkerState) -> dict[str, Any]:
        """Return a signed heartbeat, which also renews the leases that this worker holds now."""
        self.has_progress = False
        in_use = self.leases.in_use()
        heartbeat = Heartbeat(
            worker_id=self.worker_id,
            state="DRAINING" if self.supervisor.must_restart and state == "HEALTHY" else state,
            capacity=self.capacity + self.supervisor.replaced,
            artifact_id=self.release.artifact_id,
            artifact_digest=self.release.artifact_digest,
            code=self.release.code,
            environment=self.release.environment,
            taking=self.accepting and state == "HEALTHY",
            answered=self._followed is not None,
            transition_seconds=self.leases.seconds_per_transition(),
            running=in_use.running,
            waiting=in_use.waiting,
            abandoned=in_use.abandoned + self.supervisor.abandoned,
            reports=self._reports(in_use.reporting) if in_use.reporting else [],
        )
        message = seal(self.release.identity, heartbeat, self._key, encrypt=self._encrypts)
        self.acceptance.sent(message["nonce"])
        return message

    def _run(self, command: Command, lease: Lease, report: Callable[[Report], None]) -> Report:
        """Run one command. Its log lines have its fields. If it is traced, it runs in a span."""
        with bound(partial(self.release.log_fields, command, command.traceparent)):
            current.set(lease)  # the next command of this thread replaces it
            if self._tracer is None or not command.traceparent:
                return self._run_command(command, lease, report)
            attributes = self.release.span_attributes(command)
            with self._tracer.transition(
                command.traceparent, attributes, suspended_run=command.suspended_run
            ) as transition:
                return self._run_command(command, lease, report, transition)

    def _run_command(
        self, command: Command, lease: Lease, report: Callable[[Report], None], transition: Transition | None = None
    ) -> Report:
        """Run one command. The outcome reports the context of the span, or else that of the command."""
        identity = self.release.identity
        newest: Reached | None = None
        times = StepTimes()
        failing: list[Failing] = []

        def keep(next_step_index: int, outputs: list[Any], many: bool) -> None:
            nonlocal newest
            spans, failed = times.spans(), failing and tuple(failing)
            reached = outcomes.reached(command, next_step_index, outputs, many=many, steps=spans, failing=failed)
            if reached is None:
                warn("A checkpoint of execution %s is too large to be stored", command.execution_id)
                return
            newest = reached
            report(Report(identity, reached=reached))

        def keep_items(finished: FinishedItems) -> None:
            report(Report(identity, items=(outcomes.item_group(command, finished),)))

        outcome = self._boundary.run(
            command.execution_id,
            lambda: self._outcome(
                command, lease, (keep, keep_items) if command.checkpoints else None, times, transition, failing
            ),
            lambda failed: outcomes.failed(command, failed, times.spans()),
        )
        if failing and outcome.outcome != "FAILED":
            from pipelines.worker.failed_items import with_failed_items  # most workers do not need it

            outcome = with_failed_items(outcome, failing)
        if lease.reports is not None:
            end_lines(lease.reports)
            outcome = outcomes.with_report(outcome, lease.reports.with_all_lines(self._indexes))
        if transition is not None and outcome.failure is not None:
            transition.fail(outcome.failure.failure_class, outcome.failure.step_index)
        if command.traceparent:
            traceparent = command.traceparent if transition is None else transition.traceparent
            outcome = outcome.model_copy(update={"traceparent": traceparent})
        return Report(identity, outcome, newest if outcome.outcome == "FAILED" else None)

    def _outcome(
        self,
        command: Command,
        lease: Lease,
        keeps: tuple[Keep, KeepItems] | None,
        times: StepTimes,
        transition: Transition | None,
        failing: list[Failing],
    ) -> Outcome:
        steps = len(self.release.pipeline.parts)
        result: RunResult
        try:
            result = self.release.run(
                json.loads(command.payload),
                start=command.current_step_index,
                # After an await at the end, no step is left to run: the response is the result.
                stop=steps if command.current_step_index == steps else command.stop_before_step_index,
                context=partial(
                    self.release.context,
                    command,
                    self.release.identity.tenant_id,
                    lease.is_lost,
                    reporting=lease,
                    heartbeats=command.last_heartbeat,
                ),
                is_cancelled=lease.is_lost,
                shape=command.shape,
                keep=keeps and keeps[0],
                keep_items=keeps and keeps[1],
                finished=command.results_of_items(),
                failing=failing,
                times=times,
                around=None if transition is None else transition.in_step,
                limits=command.step_timeouts,
                item_policies=command.item_policies,
                supervisor=self.supervisor,
            )
        except ValueError as error:
            result = Failed(UNDECODABLE_PAYLOAD, message_of("", str(error)), retryable=False)
        outcome = outcomes.outcome_of(command, result, steps=steps, spans=times.spans())
        if outcome.failure is not None:
            log_failure(command.execution_id, result if isinstance(result, Failed) else outcome.failure)
        return outcome
