"""Runs pipelines in the process of a test, without a server and without waiting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.plan import plan
from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.step_settings import StepSettings, settings_of
from pipelines.authoring.values import Encoded
from pipelines.authoring.waits import Await
from pipelines.errors import DefinitionError
from pipelines.failures import Failed, show_authored_frames
from pipelines.local_run import AwaitTimedOut, ChildFailed, LocalRun, Question, started, typed
from wire.documents.contract import TIMER


def context(
    *,
    tenant_id: str = "test",
    execution_id: str = "00000000-0000-4000-8000-000000000000",
    pipeline_id: str = "test",
    contract_version: str = "test",
    release_version: str = "test",
    attempt: int = 0,
    transition_key: str = "test",
    step_index: int = 0,
    step_name: str = "test",
    item_index: int | None = None,
    cancelled: bool | Callable[[], bool] = False,
    config: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
    last_heartbeat: Any = None,
) -> StepContext:
    """Return a context for a step that a test calls as a function. Each member has a default.

    ``cancelled`` is its value, or a function that returns it. ``last_heartbeat`` is what an earlier attempt left: a
    JSON value.
    """
    left = json.dumps([step_index, item_index, last_heartbeat]) if last_heartbeat is not None else ""
    return StepContext(
        tenant_id=tenant_id,
        execution_id=execution_id,
        pipeline_id=pipeline_id,
        contract_version=contract_version,
        release_version=release_version,
        attempt=attempt,
        transition_key=transition_key,
        step_index=step_index,
        step_name=step_name,
        item_index=item_index,
        cancellation=cancelled if callable(cancelled) else lambda: cancelled,
        heartbeats=left,
        settings=StepSettings(dict(config or {}), dict(secrets or {})) if config or secrets else None,
    )


_CONTEXT: Final = context()


class RunFailed(Exception):
    """The execution failed, and no exception of the author's code is the reason.

    ``code`` is that of the failure, such as INVALID_STEP_OUTPUT or AWAIT_TIMEOUT. ``detail`` says what happened, and
    ``step`` is the name of the step.
    """

    def __init__(self, code: str, detail: str, step: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.step = step


@dataclass(frozen=True, slots=True)
class Result:
    """How an execution ended.

    ``values`` has the typed results, also if there is one; it is empty if the execution failed. ``many`` is True if the
    pipeline returns a stream. ``steps`` has the names of the steps that ran, in their order; a step that ran in two
    attempts is named twice. ``questions`` has the questions that were asked, with their answers. ``attempts`` is the
    number of attempts, at least 1. ``error`` is the exception with which the execution failed: the author's own, or
    ``RunFailed``; None if it succeeded. ``started_at`` and ``finished_at`` are times of the clock of the run.
    """

    values: list[Any]
    many: bool
    steps: tuple[str, ...]
    questions: tuple[Question, ...]
    attempts: int
    error: BaseException | None
    started_at: datetime
    finished_at: datetime

    @property
    def value(self) -> Any:
        """The one typed result.

        Raises ``error`` if the execution failed, and ``ValueError`` if the pipeline returns a stream.
        """
        __tracebackhide__ = True
        if self.error is not None:
            raise self.error
        if self.many:
            raise ValueError(f"the pipeline returns a stream of {len(self.values)} values; use result.values")
        return self.values[0]

    @property
    def elapsed(self) -> timedelta:
        """How long timers, unanswered questions and the delays of retries took. Steps take no time."""
        return self.finished_at - self.started_at


@dataclass(frozen=True, slots=True)
class _Late:
    delay: timedelta
    answer: Any


def after(delay: timedelta, answer: Any) -> Any:
    """Return an answer that arrives ``delay`` after its question. If that is too late, the question times out."""
    return _Late(delay, answer)


never: Final[Any] = _Late(timedelta.max, None)
"""An answer that never comes: the question times out."""


def run(
    pipeline: Pipeline,
    value: Any,
    /,
    *,
    answers: Mapping[str, Any] | None = None,
    retries: int = 0,
    raises: bool = True,
    now: datetime | None = None,
    advance: Callable[[timedelta], object] | None = None,
    context: StepContext | None = None,
    config: Mapping[str, Any] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Result:
    """Run a whole pipeline in this process and return its typed result.

    ``value`` is the input, typed or as JSON; a list if the first step takes many. ``answers`` has the answers to
    questions, by the names of their steps: a value, or a function that is called with the typed request and returns
    one. For a stream of questions, it may be a list with one answer for each. For a call of another pipeline, it may be
    that pipeline, which then runs in this process. ``after`` is a late answer, and ``never`` a missing one. A failure
    that a worker would retry is retried as its step declares, or else ``retries`` times at once.

    Timers, late answers and retries do not wait. They advance a clock that begins at ``now``, an aware time (by default
    the present), and call ``advance`` with the ``timedelta`` that passes. ``context`` has the members of the steps'
    context that do not depend on the step and the attempt. ``config`` and ``secrets`` have values of what the pipeline
    declares; others come from the environment.

    If the execution fails, the exception of the author's code is raised, or else ``RunFailed``. With
    ``raises=False`` it is returned as the result's ``error``. Raises ``DefinitionError`` for a pipeline, an input or
    answers that are wrong: INVALID_INPUT, INVALID_ANSWER, UNKNOWN_AWAIT, ANSWER_MISSING, CONFIG_MISSING, and those
    of ``build``.
    """
    __tracebackhide__ = True
    try:
        base = context or _CONTEXT
        if config is not None or secrets is not None or base.settings is None:
            base = replace(base, settings=settings_of(pipeline, values={**(config or {}), **(secrets or {})}))
        result = _result(pipeline, value, _Run(pipeline, answers or {}, retries, now, advance, base))
    except BaseException as error:
        show_authored_frames(error)
        raise error  # without `error`, the frames would come back
    if result.error is not None and raises:
        raise result.error
    return result


def _result(pipeline: Pipeline, value: Any, running: _Run) -> Result:
    started_at = running.now()
    ended = running.run(started(pipeline, value))
    error = None
    if isinstance(ended, Failed):
        error = running.error or RunFailed(ended.failure_class, ended.message, ended.step_name)
        show_authored_frames(error)
    return Result(
        values=[] if isinstance(ended, Failed) else typed(pipeline, ended),
        many=not isinstance(ended, Failed) and ended.many,
        steps=tuple(pipeline.parts[index].name for _, index in sorted(running.ran)),
        questions=tuple(running.questions),
        attempts=running.attempts,
        error=error,
        started_at=started_at,
        finished_at=running.now(),
    )


class _Run(LocalRun):
    """Records what happens. Its clock moves only when the execution waits."""

    def __init__(
        self,
        pipeline: Pipeline,
        answers: Mapping[str, Any],
        retries: int,
        now: datetime | None,
        advance: Callable[[timedelta], object] | None,
        context: StepContext,
    ) -> None:
        super().__init__(pipeline, retries=retries, context=replace(context, pipeline_id=pipeline.pipeline_id))
        self.ran: set[tuple[int, int]] = set()
        """The attempt and the index of each step that ran."""
        self.questions: list[Question] = []
        self.attempts = 1
        self._answers_by_name = answers
        self._now = now or super().now()
        self._advance = advance
        awaits = [part.name for part in pipeline.parts if isinstance(part, Await) and part.transport != TIMER]
        for name in answers:
            if name not in awaits:
                known = ", ".join(f'"{name}"' for name in awaits) or "none"
                raise DefinitionError(
                    "UNKNOWN_AWAIT",
                    f'answers has "{name}", but {pipeline.pipeline_id} asks no such question; its questions: {known}',
                )

    def now(self) -> datetime:
        return self._now

    def call(self, step: PlannedStep, function: Callable[[], Any]) -> Any:
        self.ran.add((self.attempts, step.index))
        return function()

    def retrying(self, failed: Failed, delay: timedelta) -> None:
        self.attempts += 1
        self._pass(delay)

    def item_delay(self, seconds: float) -> float:
        return 0.0

    def wait(self, timer: PlannedStep, delay: timedelta) -> None:
        self._pass(delay)

    def answers(self, questions: Sequence[Question], check: Callable[[Any], Encoded]) -> Sequence[Encoded]:
        answers = [_late(answer) for answer in self._answers_to(questions)]
        timeout = questions[0].deadline - questions[0].asked_at
        delay = max(answer.delay for answer in answers)
        checked = [None if answer.delay >= timeout else check(answer.answer) for answer in answers]
        self.questions += [
            replace(question, answer=answer and answer.value)
            for question, answer in zip(questions, checked, strict=True)
        ]
        self._pass(min(delay, timeout))
        encoded = [answer for answer in checked if answer is not None]
        if len(encoded) < len(checked):
            raise AwaitTimedOut
        return encoded

    def _answers_to(self, questions: Sequence[Question]) -> list[Any]:
        """Return the answers that the test gives, one for each question."""
        name = questions[0].step
        if name not in self._answers_by_name:
            [step] = [step for step in plan(self.pipeline).steps if step.name == name]
            many = "a list of " if step.cardinality.gives_many else ""
            raise DefinitionError(
                "ANSWER_MISSING",
                f'"{name}" waits for {many}{step.output.type_id}; add answers={{"{name}": ...}}, or never to time out',
            )
        answer = self._answers_by_name[name]
        if isinstance(answer, Pipeline):
            return [self._child_result(answer, question) for question in questions]
        if callable(answer):
            return [answer(question.request) for question in questions]
        if questions[0].item_index is None or not isinstance(answer, list | tuple):
            return [answer for _ in questions]
        if len(answer) != len(questions):
            raise DefinitionError(
                "INVALID_ANSWER", f'"{name}" asks {len(questions)} questions, but has {len(answer)} answers'
            )
        return list(answer)

    def _child_result(self, child: Pipeline, question: Question) -> _Late:
        """Run a child in this process, and return its result as JSON, after the time that it took."""
        [step] = [step for step in plan(self.pipeline).steps if step.name == question.step]
        requests = [step.input.encode(item).document for item in _as_list(question.request, step)]
        value = requests if step.cardinality.takes_many else requests[0]
        result = run(child, value, raises=False, now=self._now, context=self._context)
        if result.error is not None:
            raise ChildFailed(f"{child.pipeline_id} failed: {result.error}")
        output = plan(child).steps[-1].output
        documents = [output.encode(value).document for value in result.values]
        return _Late(result.elapsed, documents if result.many else documents[0])

    def _pass(self, time: timedelta) -> None:
        self._now += time
        if self._advance is not None and time:
            self._advance(time)


def _as_list(request: Any, step: PlannedStep) -> list[Any]:
    return list(request) if step.cardinality.takes_many else [request]


def _late(answer: Any) -> _Late:
    return answer if isinstance(answer, _Late) else _Late(timedelta(0), answer)
