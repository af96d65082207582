"""Runs one transition of a pipeline: from a step to the end, to an await, or to the step to stop before.

Uses no broker and no files, and a clock only to fill `StepTimes`. Every value between two steps is written as JSON and
read back. So a step receives the same value whether it runs in the same transition as the step before it or after a
resume.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from pipelines.authoring.cardinality import Cardinality
from pipelines.authoring.definition import Pipeline, StepContext
from pipelines.authoring.plan import plan
from pipelines.authoring.planned_step import PlannedStep
from pipelines.authoring.values import Encoded, ValueMismatch, ValueType
from pipelines.errors import Cancelled
from pipelines.failures import INVALID_STEP_OUTPUT, UNDECODABLE_PAYLOAD, Failed, failed_by, message_of
from pipelines.worker.run_results import Completed, RunResult, StepTimes, Suspended
from pipelines.worker.supervision import LOCAL, Supervisor, Watch, supervised
from wire import log_lines
from wire.messages.celery_messages import Shape

if TYPE_CHECKING:
    from pipelines.worker.failed_items import Failing
    from pipelines.worker.item_steps import Finished, ItemDelay, KeepItems
    from pipelines.worker.items import BranchCall, Item, ItemLimits, Results

_END: Final = object()

Keep = Callable[[int, list[Any], bool], None]
"""Stores a checkpoint: the index of the next step, its input as JSON documents, and whether that is a stream."""
Around = Callable[[PlannedStep, Callable[[], Any]], Any]
"""Makes a call of a step's code, and returns its result."""


def run(
    pipeline: Pipeline,
    payload: Any,
    *,
    start: int,
    stop: int,
    context: Callable[[], StepContext],
    is_cancelled: Callable[[], bool] = lambda: False,
    shape: Shape = "UNI",
    keep: Keep | None = None,
    keep_items: KeepItems | None = None,
    finished: Finished | None = None,
    item_delay: ItemDelay = float,
    failing: list[Failing] | None = None,
    item_limits: ItemLimits | None = None,
    times: StepTimes | None = None,
    around: Around | None = None,
    limits: Mapping[int, float] | None = None,
    item_policies: Mapping[int, Mapping[str, Any]] | None = None,
    supervisor: Supervisor = LOCAL,
) -> RunResult:
    """Run the steps from ``start`` up to but not including ``stop``; -1 means to the end.

    ``payload`` is decoded JSON: one value if ``shape`` is UNI, a list of values if it is MULTI. ``keep`` is called
    after each step, except the last one and those before an await. A stream is read to its end before ``keep`` is
    called. ``keep_items`` stores finished items of a step with ``parallel`` whose input is stored. ``finished`` has
    those of the first step, which does not run for them again. ``item_delay`` may shorten the seconds before the next
    try of an item. ``failing`` gets the items that failed and are collected. If ``stop == start``, no step runs and the
    input is returned.

    Every exception of the author's code becomes ``Failed``, including KeyboardInterrupt and SystemExit. ``times``
    receives when each step ran, if it is given. ``around`` makes all calls of the author's code, from several threads
    in steps with ``parallel``. ``context`` is called once if a step wants its context. No step begins once
    ``is_cancelled`` returns True. ``limits`` replaces the time limits that the steps declare, and ``item_policies``
    members of the policies of steps with ``parallel``. ``supervisor`` runs async steps and those with a limit.

    Raises ``ValueError`` for indexes outside of the pipeline and ``DefinitionError`` for a broken pipeline.
    """
    planned = plan(pipeline)
    steps = planned.steps
    end = len(steps) if stop == -1 else stop
    if not 0 <= start <= end <= len(steps):
        raise ValueError(f"steps {start} to {stop} of a pipeline of {len(steps)}")
    if item_policies:
        steps = tuple(replace(step, policy=step.policy.changed(item_policies.get(step.index, {}))) for step in steps)
    watch = None
    if planned.is_supervised or limits:
        watch = Watch(supervisor, planned.limits_with(limits or {}), is_cancelled, times.add if times else None)
        context, is_cancelled, around = watch.context(context), watch.is_over, watch.around(around)
        keep, keep_items = keep and watch.keep(keep), keep_items and watch.keep(keep_items)
    transition = _Transition(context, is_cancelled, keep, times, around)
    transition.keep_items = keep_items
    transition.finished = {start: finished or {}}
    transition.item_delay = item_delay
    transition.failing = failing
    transition.item_limits = item_limits
    transition.watch = watch
    if watch is None:
        return transition.run(steps, start, end, payload, shape)
    return supervised(watch, steps, lambda ready: transition.run(ready, start, end, payload, shape))


class _StepFailed(BaseException):
    """Ends a failed transition, which records the failure itself.

    Not an Exception: a step that reads the stream of an earlier step and catches Exception must not hide the earlier
    step's failure.
    """


@dataclass(slots=True)
class _Many:
    """A stream, which can be read once. ``count`` is the number of its items if that is known."""

    items: Iterator[Encoded]
    count: int | None = None


@dataclass(slots=True, eq=False)
class _Transition:
    """One run of steps. Between two steps there is either one value or a stream of values."""

    _make_context: Callable[[], StepContext]
    _is_cancelled: Callable[[], bool]
    _keep: Keep | None
    _times: StepTimes | None
    _around: Around | None
    keep_items: KeepItems | None = None
    finished: Mapping[int, Finished] = field(default_factory=dict)
    item_delay: ItemDelay = float
    watch: Watch | None = None
    failing: list[Failing] | None = None
    item_limits: ItemLimits | None = None
    failure: Failed | None = None
    _context: StepContext | None = None
    _streams: list[Generator[Encoded]] = field(default_factory=list)

    def close(self) -> None:
        """End the calls of items that are running, so that none outlives the transition."""
        for stream in self._streams:
            stream.close()

    def run(self, steps: tuple[PlannedStep, ...], start: int, end: int, payload: Any, shape: Shape) -> RunResult:
        try:
            current = self._input(steps, start, payload, shape)
            for step in steps[start:end]:
                asks = step.waits is not None
                if step.condition is not None:
                    current, asks = self._considered(step, step.condition, current)
                if asks:
                    suspended = self._suspend(step, current)
                    if self.failure is not None:
                        return self.failure
                    if suspended is not None:
                        return suspended
                    current = _Many(iter(()), 0)
                elif step.waits is None:
                    current = self._apply(step, current)
                else:
                    current = self._without_answer(step, steps[step.index + 1], current)
                if self._keep is not None and step.index + 1 < end and steps[step.index + 1].waits is None:
                    current = self._kept(self._keep, step.index + 1, current)
            outputs = [encoded.document for encoded in _stream(current)]
            last = (end - 1, steps[end - 1].name) if end > start else ()
            return self.failure or Completed(outputs, isinstance(current, _Many), *last)
        except BaseException as error:
            return self.failure or failed_by(error)
        finally:
            self.close()

    def _kept(self, keep: Keep, next_index: int, current: Encoded | _Many) -> Encoded | _Many:
        """Store a checkpoint of the values that a step returned. If its stream fails, no checkpoint is stored."""
        reached = list(_stream(current))
        keep(next_index, [encoded.document for encoded in reached], isinstance(current, _Many))
        return _Many(iter(reached), len(reached)) if isinstance(current, _Many) else current

    def _input(self, steps: tuple[PlannedStep, ...], start: int, payload: Any, shape: Shape) -> Encoded | _Many:
        """Decode the input. All items are decoded before the first step runs, so a bad item causes no side effects."""
        if start < len(steps):
            step, value_type = steps[start], steps[start].input
        else:
            step, value_type = steps[-1], steps[-1].output
        if shape == "UNI":
            return self._decoded(step, value_type, payload, "")
        if not isinstance(payload, list):
            self._fail(step, UNDECODABLE_PAYLOAD, "the input is not a list of items")
        items = [self._decoded(step, value_type, item, f"item {n}: ") for n, item in enumerate(payload, 1)]
        return _Many(iter(items), len(items))

    def _decoded(self, step: PlannedStep, value_type: ValueType, document: Any, prefix: str) -> Encoded:
        try:
            return Encoded(document, value_type.decode(document))
        except ValueMismatch as mismatch:
            self._fail(step, UNDECODABLE_PAYLOAD, f"{prefix}the input is not of type {value_type.type_id}: {mismatch}")

    def _suspend(self, step: PlannedStep, current: Encoded | _Many) -> Suspended | None:
        """Return the suspension at an await; None if there is no request: an await per item over an empty stream."""
        documents = [encoded.document for encoded in _stream(current)]
        if step.cardinality.takes_many:
            return Suspended(step.index, step, [documents], itemized=False)
        itemized = isinstance(current, _Many)
        if itemized and not documents:
            return None
        return Suspended(step.index, step, documents, itemized=itemized)

    def _considered(
        self, step: PlannedStep, condition: PlannedStep, current: Encoded | _Many
    ) -> tuple[Encoded | _Many, bool]:
        """Return the values before an await, and whether the await asks."""
        if not isinstance(current, _Many):
            return current, self._result(condition, current.value, None).value
        reached = list(current.items)
        values = [item.value for item in reached]
        asks = self._result(condition, values if condition.collects else iter(values), None).value
        return _Many(iter(reached), len(reached)), asks

    def _without_answer(self, step: PlannedStep, following: PlannedStep, current: Encoded | _Many) -> Encoded:
        """Return what the step after an await takes if no question is asked: the request, and null."""
        from pipelines.worker import branch_steps  # most pipelines, and so most workers, do not need it
        from wire.documents.request_and_answer import request_with_answer

        branch_steps.note(step, "No question was asked, because the condition returned False")
        documents = [encoded.document for encoded in _stream(current)]
        pair = request_with_answer(documents if step.cardinality.takes_many else documents[0], None)
        return self._decoded(following, following.input, pair, "")

    def _apply(self, step: PlannedStep, current: Encoded | _Many) -> Encoded | _Many:
        if step.branching is not None:
            return self._branched(step, current)
        if step.cardinality is Cardinality.ONE_TO_ONE and not isinstance(current, _Many):
            return self._checked(step, self._call(step, current.value, None))
        if step.cardinality.takes_many:
            values = (encoded.value for encoded in _stream(current))
            produced = self._call(step, list(values) if step.collects else values, None)
            if step.cardinality is Cardinality.MANY_TO_ONE:
                return self._checked(step, produced)
            return _Many(self._produced(step, produced))
        if isinstance(current, _Many):
            return _Many(self._mapped(step, current.items) if step.items is None else self._in_parallel(step, current))
        return _Many(self._produced(step, self._call(step, current.value, None)))

    def _branched(self, step: PlannedStep, current: Encoded | _Many) -> Encoded | _Many:
        """Return the results of a step with branches: one, or a lazy stream of them."""
        from pipelines.worker import branch_steps  # most pipelines, and so most workers, do not need it

        many = current if isinstance(current, _Many) else _Many(iter((current,)), 1)
        calls = branch_steps.calls(step, many.items, self._result, is_stream=isinstance(current, _Many))
        count = None if many.count is None else many.count * branch_steps.calls_of_one(step)
        results = branch_steps.results(step, self._in_parallel(step, _Many(calls, count)))
        if isinstance(current, _Many):
            return _Many(results)
        [result] = results
        return result

    def _in_parallel(self, step: PlannedStep, current: _Many) -> Iterator[Encoded]:
        """Return the results of a step with ``parallel``. Its items are stored if its input is."""
        from pipelines.worker.item_steps import Groups, of_step  # most pipelines, and so most workers, do not need it
        from pipelines.worker.items import ITEM_LIMITS

        limits, groups = self.item_limits or ITEM_LIMITS, None
        if self.keep_items is not None and current.count is not None:
            groups = Groups(self.keep_items, step.index, current.count, limits)
        if step.wants_context and self._context is None:
            self._context = self._make_context()
        call, known = partial(self._item_called, step), self.finished.get(step.index)
        ends = self._give_up, self._check, self.item_delay
        options: dict[str, Any] = {
            "ahead": limits.ahead,
            "stored": groups,
            "known": known,
            "watch": self.watch,
            "failing": self.failing,
        }
        stream = of_step(step, current.items, call, *ends, **options)
        self._streams.insert(0, stream)  # a stream is closed before those that it reads
        return stream

    def _item_called(self, step: PlannedStep, item: Item, is_abandoned: Callable[[], bool]) -> Results | Failed:
        """Call a step for one item, in any thread. Its failure is none of the transition yet.

        Each branch, and each further try, gets a separate value, so none sees what another one changed in it.
        """

        def is_over() -> bool:
            return is_abandoned() or self._is_cancelled()

        alone = _Transition(self._make_context, is_over, None, self._times, self._around)
        if self._context is not None:
            alone._context = replace(self._context, cancellation=is_over)
        try:
            if step.branching is not None:
                return [alone._of_branch(cast("BranchCall", item.encoded))]
            encoded = alone._decoded(step, step.input, item.encoded.document, "") if item.tries else item.encoded
            return list(alone._mapped(step, iter([encoded]), first=item.index))
        except BaseException as error:
            return alone.failure or failed_by(error, step_index=step.index, step_name=step.name)

    def _of_branch(self, called: BranchCall) -> Encoded:
        """Return the result of a branch, which is a list if its hint says many."""
        step, index = called.step, called.item_index
        value = self._decoded(step, step.input, called.document, "").value
        if not step.cardinality.gives_many:
            return self._result(step, value, index)
        produced = list(self._produced(step, self._call(step, value, index), index))
        return Encoded([item.document for item in produced], [item.value for item in produced])

    def _give_up(self, failed: Failed) -> NoReturn:
        if self.failure is None:
            self.failure = failed
        raise _StepFailed

    def _check(self) -> None:
        if self._is_cancelled():
            raise Cancelled

    def _mapped(self, step: PlannedStep, items: Iterator[Encoded], first: int = 0) -> Iterator[Encoded]:
        for item_index, encoded in enumerate(items, first):
            produced = self._call(step, encoded.value, item_index)
            if step.cardinality is Cardinality.ONE_TO_ONE:
                yield self._checked(step, produced)
            else:
                yield from self._produced(step, produced, item_index)

    def _produced(self, step: PlannedStep, produced: Any, item_index: int | None = None) -> Iterator[Encoded]:
        """Yield the items that a step returned. A generator function runs here, item by item."""
        cls = type(produced)  # an object may report a wrong class, or raise
        if issubclass(cls, str | bytes | dict) or not issubclass(cls, Iterable):
            self._fail(
                step, INVALID_STEP_OUTPUT, f"returned {cls.__name__}, but its hint says many {step.output.type_id}"
            )
        iterator = self._authored(step, iter, produced, item_index=item_index)
        while (item := self._authored(step, next, iterator, _END, item_index=item_index)) is not _END:
            yield self._checked(step, item)

    def _result(self, step: PlannedStep, value: Any, item_index: int | None) -> Encoded:
        return self._checked(step, self._call(step, value, item_index))

    def _call(self, step: PlannedStep, value: Any, item_index: int | None) -> Any:
        if step.function is None:
            raise TypeError(f"step {step.name} is an await")
        several = step.answered or step.joined
        values = (value,) if several is None else several.arguments(value)
        if not step.wants_context:
            return self._authored(step, step.function, *values, item_index=item_index)
        if self._context is None:
            self._context = self._make_context()
        context = replace(self._context, step_index=step.index, step_name=step.name, item_index=item_index)
        if step.branch is not None:
            context = replace(context, branch=step.branch.name, call_index=step.branch.call_index(item_index))
        return self._authored(step, step.function, *values, context, item_index=item_index)

    def _authored(
        self, step: PlannedStep, function: Callable[..., Any], *arguments: Any, item_index: int | None = None
    ) -> Any:
        """Call the author's code. An exception fails the step; no code is called once a step has failed."""
        if self.failure is not None:
            raise _StepFailed  # the author's code caught it
        begun = 0.0 if self._times is None else time.time()
        token = log_lines.step_and_item.set((step.name, item_index))
        try:
            if self._is_cancelled():
                raise Cancelled
            if self._around is not None:
                return self._around(step, partial(function, *arguments))
            return function(*arguments)
        except BaseException as error:
            self._raised(step, error, authored=error)
        finally:
            log_lines.step_and_item.reset(token)
            if self._times is not None:
                self._times.add(step.index, begun)

    def _checked(self, step: PlannedStep, value: Any) -> Encoded:
        try:
            return step.output.encode(value)
        except ValueMismatch as mismatch:
            message = f"returned a value that is not of type {step.output.type_id}: {mismatch}"
            self._fail(step, INVALID_STEP_OUTPUT, message)
        except BaseException as error:
            self._raised(step, error)

    def _raised(self, step: PlannedStep, error: BaseException, authored: BaseException | None = None) -> NoReturn:
        """Record the first failure only, because it may have caused later ones."""
        if self.failure is None:
            failed = failed_by(error, step.policy, step_index=step.index, step_name=step.name)
            self.failure = replace(failed, error=authored)
        raise _StepFailed from None

    def _fail(self, step: PlannedStep, failure_class: str, message: str) -> NoReturn:
        """Fail the step without a retry: the value is wrong, and would be wrong again."""
        self._give_up(Failed(failure_class, message_of(step.name, message), False, step.index, step.name))


def _stream(current: Encoded | _Many) -> Iterator[Encoded]:
    return current.items if isinstance(current, _Many) else iter((current,))
