"""Builds the outcomes and checkpoints that a worker reports."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.failures import OUTPUT_TOO_LARGE, Failed, message_of, warn, warn_of
from pipelines.worker.run_results import Completed, RunResult, Suspended
from wire.documents.json_reader import LONGEST_OUTCOME, MOST_PAYLOADS, MOST_VALUES, values_in
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import (
    Checkpoint,
    Command,
    Failure,
    ItemGroup,
    Outcome,
    StepReport,
    StepSpan,
    Suspension,
)
from wire.messages.task_messages import groups

if TYPE_CHECKING:
    from pipelines.worker.failed_items import Failing
    from pipelines.worker.item_steps import FinishedItems

_text = json.JSONEncoder(ensure_ascii=False).encode

CERTAINLY_FITTING = LONGEST_OUTCOME // 2
"""How many characters the texts of a report may have if it is not measured. The other members need far fewer."""


def outcome_of(command: Command, result: RunResult, *, steps: int, spans: Sequence[StepSpan] = ()) -> Outcome:
    """Return the outcome of a command of a pipeline with `steps` steps. It always fits in a message.

    `spans` says when the steps ran.
    Raises pydantic's error for a value that a message cannot contain.
    """
    if isinstance(result, Failed):
        return failed(command, result, spans)
    documents = result.outputs if isinstance(result, Completed) else result.requests
    if (too_many := too_large(result, items=len(documents))) is not None:
        return failed(command, too_many, spans)
    if isinstance(result, Completed):
        stopped = command.stop_before_step_index
        outcome = _outcome(
            command,
            spans,
            outcome="COMPLETED",
            output_payloads=_texts(result.outputs),
            stopped_before_step_index=stopped if stopped < steps else -1,
        )
    else:
        outcome = _outcome(command, spans, outcome="WAITING_EXTERNAL", suspension=_suspension(result))
    texts = outcome.output_payloads if outcome.suspension is None else outcome.suspension.requests
    too_much = too_large(result, characters=_length(lambda: outcome, texts), values=values_in(texts))
    return outcome if too_much is None else failed(command, too_much, spans)


def failed(command: Command, failure: Failed, spans: Sequence[StepSpan] = ()) -> Outcome:
    """Return the outcome of a command that failed, with the spans of the steps that ran."""
    reported = Failure(
        failure_class=failure.failure_class,
        message=failure.message,
        retryable=failure.retryable,
        step_index=failure.step_index,
        traceback=failure.traceback,
    )
    return _outcome(command, spans, outcome="FAILED", failure=reported)


def with_report(outcome: Outcome, report: StepReport | None) -> Outcome:
    """Return the outcome with the report of its steps. An outcome that is almost too large for a message has none."""
    if report is None:
        return outcome
    texts = outcome.output_payloads if outcome.suspension is None else outcome.suspension.requests
    if 6 * sum(map(len, texts)) + 3 * len(texts) >= CERTAINLY_FITTING:
        return outcome
    return outcome.model_copy(update={"report": report})


def too_large(
    result: Completed | Suspended | None, *, characters: int = 0, items: int = 0, values: int = 0
) -> Failed | None:
    """Return the failure of the step whose result is larger than a message may be; None if it is not."""
    for count, most, noun in (
        (items, MOST_PAYLOADS, "items"),
        (values, MOST_VALUES, "JSON values"),
        (characters, LONGEST_OUTCOME, "characters"),
    ):
        if count > most:
            text = f"the outcome has {count:,} {noun}; at most {most:,} can travel"
            index, name = (result.step_index, result.step_name) if result is not None else (None, "")
            return Failed(OUTPUT_TOO_LARGE, message_of(name, text), False, index, name)
    return None


def _suspension(suspended: Suspended) -> Suspension:
    """Return the suspension at an await, as the author defined it, with the requests of this transition."""
    waits = suspended.waits
    cardinality = suspended.step.cardinality
    return Suspension(
        step_index=suspended.step_index,
        step_id=waits.step_id,
        itemized=suspended.itemized,
        gives_many=suspended.itemized or cardinality.gives_many,
        requests=_texts(suspended.requests),
        request_shape="MULTI" if cardinality.takes_many else "UNI",
        output_type=suspended.step.output.type_id,
        transport=waits.transport,
        transport_metadata=dict(waits.transport_metadata),
        timeout_seconds=waits.timeout.total_seconds(),
        assignee=waits.assignee,
        group=waits.group,
    )


def mismatch(command: Command, meant: ReleaseIdentity, hosted: ReleaseIdentity) -> Outcome:
    """Return the outcome of a command for another release than the hosted one."""
    message = f"Transition command targets {meant} but local worker is {hosted}"
    return failed(command, Failed("IDENTITY_MISMATCH", message, retryable=False))


class Reached(NamedTuple):
    """What a checkpoint consists of. It is made only to be sent, because the next step or the outcome replaces most."""

    command: Command
    next_step_index: int
    output_payloads: list[str]
    many: bool = False
    steps: Sequence[StepSpan] = ()
    failing: Sequence[Failing] = ()

    def checkpoint(self) -> Checkpoint:
        checkpoint = Checkpoint(
            execution_id=self.command.execution_id,
            execution_version=self.command.execution_version,
            lease_token=self.command.lease_token,
            transition_key=self.command.transition_key,
            next_step_index=self.next_step_index,
            output_payloads=self.output_payloads,
            many=self.many,
            steps=list(self.steps),
        )
        if not self.failing:
            return checkpoint
        from pipelines.worker.failed_items import with_failed_items  # most workers do not need it

        return with_failed_items(checkpoint, self.failing)


def reached(
    command: Command,
    next_step_index: int,
    outputs: Sequence[Any],
    *,
    many: bool,
    steps: Sequence[StepSpan] = (),
    failing: Sequence[Failing] = (),
) -> Reached | None:
    """Return the outputs of the steps before `next_step_index` for a checkpoint; None if it is too large to send."""
    if too_large(None, items=len(outputs)) is not None:
        return None
    texts = _texts(outputs)
    made = Reached(command, next_step_index, texts, many, steps, failing)
    fits = too_large(None, characters=_length(made.checkpoint, texts), values=values_in(texts)) is None
    return made if fits else None


def item_group(command: Command, finished: FinishedItems) -> ItemGroup:
    return ItemGroup(
        execution_id=command.execution_id,
        execution_version=command.execution_version,
        lease_token=command.lease_token,
        transition_key=command.transition_key,
        step_index=finished.step_index,
        items=list(finished.texts),
        outputs=list(finished.texts.values()),
        total=finished.total,
        failed=finished.failed,
    )


def _length(report: Callable[[], Outcome | Checkpoint], texts: Sequence[str]) -> int:
    """Return the length of a report as JSON. It is 0 if its texts are so short that the report certainly fits.

    Almost all reports are short, and writing each one only to measure it would take a tenth of the worker's time.
    """
    longest_escaped = 6 * sum(map(len, texts)) + 3 * len(texts)
    if longest_escaped < CERTAINLY_FITTING:
        return 0
    return len(report().model_dump_json(by_alias=True))


def _texts(values: Sequence[Any]) -> list[str]:
    return [_text(value) for value in values]


def _outcome(command: Command, spans: Sequence[StepSpan], **members: Any) -> Outcome:
    return Outcome(
        execution_id=command.execution_id,
        execution_version=command.execution_version,
        lease_token=command.lease_token,
        transition_key=command.transition_key,
        steps=list(spans),
        **members,
    )


PAUSE_PER_REPORT = 0.002
"""Seconds to wait before the next group, for each report of the last one."""
LONGEST_PAUSE = 0.03
"""In seconds."""
MOST_REPORTS = 500
"""How many reports one message carries."""
BYTES_OF_A_LINE = 50
"""What a line needs in a message besides its text. Messages are limited in values too, and a line has several."""
RETRY_SECONDS = 1.0
MOST_TRIES = 5


class Report(NamedTuple):
    """The outcome of one command, or what its newest checkpoint consists of, with the items that finished after it.

    A failed command has all of them.
    """

    identity: ReleaseIdentity
    outcome: Outcome | None = None
    reached: Reached | None = None
    items: tuple[ItemGroup, ...] = ()

    @property
    def lease_token(self) -> uuid.UUID:
        reported = self.outcome or (self.reached and self.reached.command) or (self.items and self.items[0])
        assert reported  # noqa: S101 - a report has one of them
        return reported.lease_token

    @property
    def size(self) -> int:
        """The approximate number of bytes in a message."""
        other = 500
        texts = [*(self.outcome.output_payloads if self.outcome else [])]
        if self.outcome and self.outcome.suspension:
            texts += self.outcome.suspension.requests
        if self.outcome and self.outcome.failure:
            texts.append(self.outcome.failure.traceback)
        if self.outcome and self.outcome.report:
            texts += [text for *_, text in self.outcome.report.lines]
            other += BYTES_OF_A_LINE * len(self.outcome.report.lines)
        if self.reached:
            texts += self.reached.output_payloads
        for group in self.items:
            texts += group.outputs
        return other + sum(map(len, texts))


def _with_items(report: Report, pending: Report | None) -> Report:
    """Return a report in place of one of its lease that waits. The items of that count unless the step is over."""
    if pending is None:
        return report
    if report.outcome is None and report.reached is None:
        return pending._replace(items=pending.items + report.items)
    if report.outcome is not None and report.outcome.outcome == "FAILED":
        return report._replace(items=pending.items + report.items)
    return report


class Outbox(threading.Thread):
    """Passes reports to `send`, in groups of one release, mostly from a separate thread. Safe to use from many threads.

    Only the newest checkpoint of a lease is sent, with the items that finished after it, and none after its outcome.
    OSError from `send` means that the broker is unreachable, so the group is sent again later. Any other exception is a
    bug: a group that fails with it MOST_TRIES times is dropped, so that it does not block the others. `done` is called
    with the reports that were sent or dropped.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Report]], None],
        done: Callable[[Sequence[Report]], None] = lambda _: None,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        super().__init__(name="outbox", daemon=True)
        self._send = send
        self._done = done
        self._retry_seconds = retry_seconds
        self._condition = threading.Condition()
        self._outcomes: list[Report] = []
        self._checkpoints: dict[uuid.UUID, Report] = {}
        self._sending = 0  # threads
        self._closed = False
        self._not_before = 0.0

    def put(self, report: Report) -> None:
        """Add a report. It replaces earlier checkpoints of its lease.

        The caller sends an outcome itself if all others are sent and the pause is over, so that on an idle worker no
        thread has to be woken for it. If that fails, the thread tries again.
        """
        with self._condition:
            is_alone = report.outcome is not None and self._is_idle()
            if is_alone:
                self._sending += 1
        if is_alone and self._sent_alone(report):
            return
        with self._condition:
            if report.outcome is not None:
                self._outcomes.append(_with_items(report, self._checkpoints.pop(report.lease_token, None)))
            else:
                self._checkpoints[report.lease_token] = _with_items(report, self._checkpoints.get(report.lease_token))
            self._condition.notify()

    def _is_idle(self) -> bool:
        return self._is_empty() and not self._sending and time.monotonic() >= self._not_before and self.is_alive()

    def _is_empty(self) -> bool:
        return not (self._outcomes or self._checkpoints)

    def _sent_alone(self, report: Report) -> bool:
        sent = []
        try:
            self._send([report])
            sent = [report]
        except BaseException as error:
            warn("The broker did not accept a report: %s", type(error).__name__)
        finally:
            self._finish(sent)
        return bool(sent)

    def _finish(self, reports: Sequence[Report]) -> None:
        """Note that `reports` were sent or dropped."""
        with self._condition:
            self._sending -= 1
            self._not_before = time.monotonic() + min(PAUSE_PER_REPORT * len(reports), LONGEST_PAUSE)
        self._done(reports)

    def close(self, seconds: float) -> bool:
        """Send the remaining reports and stop. Return False if that took longer than `seconds`."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        while not (self._closed and self._is_empty()):
            try:
                self._send_next()
            except BaseException as error:
                warn_of(error, "The outbox failed, and continues")

    def _send_next(self) -> None:
        reports = self._next()
        try:
            by_release: dict[ReleaseIdentity, list[Report]] = defaultdict(list)
            for report in reports:
                by_release[report.identity].append(report)
            for same_release in by_release.values():
                for group in groups(same_release, [report.size for report in same_release], most=MOST_REPORTS):
                    self._send_group(group)
        finally:
            self._finish(reports)

    def _next(self) -> list[Report]:
        """Wait until there are reports and the pause is over, then take all. Return none once closed and empty."""
        with self._condition:
            while self._is_empty() and not self._closed:
                self._condition.wait()
            while not self._closed and (wait := self._not_before - time.monotonic()) > 0:
                self._condition.wait(wait)
            reports = [*self._checkpoints.values(), *self._outcomes]
            self._checkpoints, self._outcomes = {}, []
            self._sending += 1
            return reports

    def _send_group(self, group: list[Report]) -> None:
        tries = 0
        while tries < MOST_TRIES:
            try:
                self._send(group)
            except OSError as error:
                warn("The broker did not accept %d reports: %s", len(group), type(error).__name__)
            except BaseException as error:
                tries += 1
                warn_of(error, "%d reports could not be sent", len(group))
            else:
                return
            time.sleep(self._retry_seconds)
