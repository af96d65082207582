"""Runs a whole pipeline in this process, as a coordinator and its workers would: attempts, checkpoints, awaits, timers.

`pipelines.testing` and ``pipelines run`` are subclasses of ``LocalRun``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.plan import plan
from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.values import Encoded, ValueMismatch, ValueType
from pipelines.errors import DefinitionError, EventLoopBlocked, StepTimeout
from pipelines.failures import Failed, message_of
from pipelines.step_policy import NO_POLICY, StepPolicy
from pipelines.step_reports import Reporter
from pipelines.worker.item_steps import FinishedItems
from pipelines.worker.outcomes import too_large
from pipelines.worker.run_results import Completed, Suspended
from pipelines.worker.runner import run
from wire.documents.contract import TIMER
from wire.documents.json_reader import values_in
from wire.documents.request_and_answer import request_with_answer
from wire.messages.celery_messages import Shape
from wire.retry import LONGEST_RETRY_DELAY, RetryPolicy

AWAIT_TIMEOUT: Final = "AWAIT_TIMEOUT"
CHILD_FAILED: Final = "CHILD_FAILED"
_text: Final = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run begins or continues: with which step, attempt and JSON. ``payload`` is a list if ``shape`` is MULTI.

    ``attempt`` counts the attempts of the whole execution from 0.
    """

    payload: Any
    shape: Shape = "UNI"
    step_index: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A question, or a request to another pipeline.

    ``step`` is the name of the step that asks. ``request`` and ``answer`` are typed. ``request`` is a list if the step
    takes many, and ``answer`` is one if it gives many. ``answer`` is None until it is answered. ``item_index`` counts
    the questions of a stream from 0; it is None if there is one question. ``assignee`` and ``group`` say who may
    answer; None for anyone. ``asked_at`` and ``deadline`` are aware times of the clock of the run.
    """

    step: str
    request: Any
    item_index: int | None
    asked_at: datetime
    deadline: datetime
    assignee: str | None
    group: str | None
    answer: Any = None


class ChildFailed(Exception):
    """Raised by ``LocalRun.answers`` if a child has no result. The execution then fails with CHILD_FAILED."""


class AwaitTimedOut(Exception):
    """Nothing is left to answer. The execution has continued or failed.

    Raised by ``LocalRun.answers`` if no answer comes in time. The execution then fails with AWAIT_TIMEOUT.
    """


class LocalRun:
    """One execution of a pipeline in this process. Subclasses answer its questions and learn what happens.

    ``retries`` is how often a failure that may be retried is retried, at once, if the step declares nothing else. It is
    counted since the last checkpoint or await, as a coordinator counts. ``context`` has the members of the steps'
    context that do not depend on the step and the attempt. With ``checkpoint``, a retry resumes at the failed step;
    the default is that of the pipeline.
    """

    def __init__(
        self, pipeline: Pipeline, *, retries: int, context: StepContext, checkpoint: bool | None = None
    ) -> None:
        self.pipeline = pipeline
        self._retries = RetryPolicy(retries, timedelta(), 2, LONGEST_RETRY_DELAY, jitter=0)
        self._retried = 0
        self._reporter = Reporter(self._reported)
        self._context = replace(context, reporting=self._reporter)
        self._checkpoint = pipeline.checkpoint if checkpoint is None else checkpoint
        self._progress = Progress(None)
        self.finished: dict[int, str] = {}
        """Items for which the step at which the run continues is done: their results as JSON."""
        self.error: BaseException | None = None
        """The exception of the author's code with which the newest attempt failed, if there is one."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def call(self, step: PlannedStep, function: Callable[[], Any]) -> Any:
        """Call the author's code and return its result. A step has one call for each item, and for each it yields."""
        return function()

    def answers(self, questions: Sequence[Question], check: Callable[[Any], Encoded]) -> Sequence[Encoded]:
        """Return the answers to the questions of one await, in their order.

        ``check`` encodes an answer, which may be typed or JSON. It raises ``DefinitionError`` INVALID_ANSWER for one of
        another type. Raise ``AwaitTimedOut`` if there is no answer.
        """
        raise NotImplementedError

    def answered(self, questions: Sequence[Question]) -> None:
        """Called with the questions of one await and their answers."""

    def wait(self, timer: PlannedStep, delay: timedelta) -> None:
        """Wait for a timer."""

    def reported(self, progress: str) -> None:
        """Called with the progress that a step reports, such as `3 of 10: loading`."""

    def reached(self, progress: Progress) -> None:
        """Called with each place from which the execution would continue in another process."""

    def items_finished(self, texts: dict[int, str]) -> None:
        """Called with items that are added to ``finished``."""

    def item_delay(self, seconds: float) -> float:
        """Return how long to wait before another try of an item, of the seconds that its step declares."""
        return seconds

    def retrying(self, failed: Failed, delay: timedelta) -> None:
        """Called before another attempt, which the delay comes before. Wait for it here."""

    def policy_of(self, failed: Failed) -> StepPolicy:
        """Return the policy of the step that failed."""
        return NO_POLICY if failed.step_index is None else plan(self.pipeline).steps[failed.step_index].policy

    def run(self, progress: Progress) -> Completed | Failed:
        """Run to the end.

        Raises ``DefinitionError`` for a broken pipeline, KeyboardInterrupt, and what the methods above raise.
        """
        self._progress = progress  # `finished` may belong to it
        self._move(progress)
        while True:
            result = self._transition()
            if isinstance(result, Suspended):
                try:
                    self._resume(result)
                except (AwaitTimedOut, ChildFailed) as error:
                    code = AWAIT_TIMEOUT if isinstance(error, AwaitTimedOut) else CHILD_FAILED
                    text = str(error) or f"no answer came within {result.waits.timeout}"
                    return Failed(code, message_of(result.step_name, text), False, result.step_index, result.step_name)
            elif isinstance(result, Completed) or (delay := self._delay(result)) is None:
                return result
            else:
                self._retried += 1
                self.retrying(result, delay)
                self._move(replace(self._progress, attempt=self._progress.attempt + 1))

    def _delay(self, failed: Failed) -> timedelta | None:
        """Return the delay before the next attempt. None if none is left."""
        if not failed.retryable:
            return None
        return self.policy_of(failed).retries_after(self._retries).wait(self._retried + 1, lambda: 0)

    def _transition(self) -> Completed | Suspended | Failed:
        begun = self._progress
        result = run(
            self.pipeline,
            begun.payload,
            start=begun.step_index,
            stop=-1,
            context=self._step_context,
            shape=begun.shape,
            keep=self._keep if self._checkpoint else None,
            keep_items=self._keep_items if self._checkpoint else None,
            finished={index: json.loads(text) for index, text in self.finished.items()},
            item_delay=self.item_delay,
            around=self._call,
        )
        error = result.error if isinstance(result, Failed) else None
        self.error = None if isinstance(error, StepTimeout | EventLoopBlocked) else error
        if isinstance(result, Failed) and result.failure_class == KeyboardInterrupt.__name__:  # at the terminal
            raise self.error or KeyboardInterrupt
        if isinstance(result, Failed):
            return result
        texts = list(map(_text, result.outputs if isinstance(result, Completed) else result.requests))
        too_much = too_large(result, items=len(texts), characters=sum(map(len, texts)), values=values_in(texts))
        return too_much or result

    def _reported(self) -> None:
        if self._reporter.reports is not None and (text := self._reporter.reports.progress):
            self.reported(text)

    def _step_context(self) -> StepContext:
        progress = self._progress
        key = f"{self._context.execution_id}:{progress.step_index}:{progress.attempt}"
        left = self._reporter.reports.details if self._reporter.reports is not None else self._context.heartbeats
        return replace(self._context, attempt=progress.attempt, transition_key=key, heartbeats=left)

    def _keep(self, next_index: int, documents: list[Any], many: bool) -> None:
        payload, shape = (documents, "MULTI") if many else (documents[0], "UNI")
        self._retried = 0
        self._move(Progress(payload, shape, next_index, self._progress.attempt))  # type: ignore[arg-type]

    def _keep_items(self, finished: FinishedItems) -> None:
        if finished.step_index == self._progress.step_index:
            self.finished |= finished.texts
            self.items_finished(finished.texts)

    def _move(self, progress: Progress) -> None:
        if progress.step_index != self._progress.step_index:
            self.finished = {}
        self._progress = progress
        self.reached(progress)

    def _call(self, step: PlannedStep, function: Callable[[], Any]) -> Any:
        self._context.raise_if_cancelled()
        return self.call(step, function)

    def _resume(self, suspended: Suspended) -> None:
        """Continue after an await with its answers, or its requests and answers, or after a timer with its values."""
        step, waits = suspended.step, suspended.waits
        if waits.transport == TIMER:
            self.wait(step, waits.timeout)
            documents = suspended.requests
        else:
            documents = self._answers(suspended)
        many = suspended.itemized or step.cardinality.gives_many
        steps, next_index = plan(self.pipeline).steps, suspended.step_index + 1
        if next_index < len(steps) and steps[next_index].answered is not None:
            documents = list(map(request_with_answer, suspended.requests, documents))
            many = suspended.itemized
        self._retried = 0
        self._move(
            Progress(
                documents if suspended.itemized else documents[0],
                "MULTI" if many else "UNI",
                next_index,
                self._progress.attempt,
            )
        )

    def _answers(self, suspended: Suspended) -> list[Any]:
        step, waits = suspended.step, suspended.waits
        takes_many, asked_at = step.cardinality.takes_many, self.now()
        questions = [
            Question(
                step.name,
                [step.input.decode(item) for item in request] if takes_many else step.input.decode(request),
                place if suspended.itemized else None,
                asked_at,
                asked_at + waits.timeout,
                waits.assignee,
                waits.group,
            )
            for place, request in enumerate(suspended.requests)
        ]

        def check(answer: Any) -> Encoded:
            where = f'the answer to "{step.name}"'
            return _encoded(step.output, answer, where, "INVALID_ANSWER", many=step.cardinality.gives_many)

        answers = self.answers(questions, check)
        self.answered(
            [replace(question, answer=answer.value) for question, answer in zip(questions, answers, strict=True)]
        )
        return [answer.document for answer in answers]


def started(pipeline: Pipeline, value: Any) -> Progress:
    """Return the beginning of an execution with this input: typed, or JSON. It is a list if the first step takes many.

    Raises ``DefinitionError``: INVALID_INPUT, and those of a broken pipeline.
    """
    first = plan(pipeline).steps[0]
    many = first.cardinality.takes_many
    encoded = _encoded(first.input, value, "the input", "INVALID_INPUT", many=many)
    return Progress(encoded.document, "MULTI" if many else "UNI")


def typed(pipeline: Pipeline, completed: Completed) -> list[Any]:
    """Return the results of a whole run as typed objects."""
    output = plan(pipeline).steps[-1].output
    return [output.decode(document) for document in completed.outputs]


def _encoded(value_type: ValueType, value: Any, where: str, code: str, *, many: bool) -> Encoded:
    try:
        if not many:
            return value_type.accept(value)
        items = value_type.accept_all(value)
    except ValueMismatch as mismatch:
        expected = f"a list of {value_type.type_id}" if many else f"of type {value_type.type_id}"
        raise DefinitionError(code, f"{where} is not {expected}: {mismatch}") from None
    return Encoded([item.document for item in items], [item.value for item in items])
