"""Runs transitions with time limits or async steps. Other transitions run without it and cost nothing more.

A thread cannot be ended from outside. If an ordinary step exceeds its time limit, its transition fails and its thread
is abandoned: it continues until the step returns, and nothing that it does counts. An async step is cancelled instead.
"""

from __future__ import annotations

import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, replace
from queue import SimpleQueue
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from pipelines.authoring.planned_step import LimitKey, PlannedStep
from pipelines.errors import StepTimeout
from pipelines.failures import Failed, failed_by, stack_of, warn

if TYPE_CHECKING:
    from pipelines.authoring.definition import StepContext
    from pipelines.worker.event_loop import EventLoop

_Result = TypeVar("_Result")
_Kept = ParamSpec("_Kept")
Limits = Mapping[LimitKey, float]
"""The time limits of steps and branches in seconds."""
LEAST_WAIT: Final = 0.02
"""Seconds between two looks at a transition. A step that waits for its input may have almost no time left."""


class Supervisor:
    """Counts the abandoned threads of one worker, and owns its event loop. Safe to use from many threads.

    `replaceable` is how many abandoned threads are replaced, so that the worker can run as much as before. A thread
    that is not replaced occupies a place until it ends. `restart_at` is the number of abandoned threads at which the
    worker should end. `changed` is called after each change of the number.
    """

    def __init__(
        self,
        *,
        replaceable: int = sys.maxsize,
        restart_at: int | None = None,
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        self.replaceable = replaceable
        self.abandoned = 0
        self.replaced = 0
        """The number of abandoned threads that are replaced."""
        self.is_short = False
        """True if threads are abandoned that are not replaced."""
        self.must_restart = False
        """True once `restart_at` threads were abandoned at a time."""
        self._restart_at = restart_at
        self._changed = changed
        self._condition = threading.Condition()
        self._occupied = 0
        self._closed = False
        self._idle: list[_StepThread] = []
        self._loop: EventLoop | None = None

    def occupy(self) -> None:
        """Occupy the caller's place as long as it stands for an abandoned thread that is not replaced.

        Call it after an outcome if `is_short`. Returns at once if enough other callers wait, or after `close`.
        """
        with self._condition:
            if self._occupied >= self.abandoned - self.replaceable:
                return
            self._occupied += 1
            self._condition.wait_for(
                lambda: self._closed or self.must_restart or self._occupied > self.abandoned - self.replaceable
            )
            self._occupied -= 1

    def close(self) -> None:
        """Let all callers of `occupy` continue, because the worker ends."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def abandon(self) -> None:
        """Count a thread as abandoned."""
        self._count(1)

    def returned(self) -> None:
        """Count a thread no longer, because its step has returned."""
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._condition:
            self.abandoned += change
            self.replaced = min(self.abandoned, self.replaceable)
            self.is_short = self.abandoned > self.replaced
            if self._restart_at is not None and self.abandoned >= self._restart_at and not self.must_restart:
                self.must_restart = True
                warn("Abandoned threads: %d. The worker finishes what runs and ends", self.abandoned)
            self._condition.notify_all()
        self._changed()

    def event_loop(self) -> EventLoop:
        """Return the loop of the async steps. It starts with the first call."""
        from pipelines.worker.event_loop import EventLoop  # most pipelines have no async steps

        with self._condition:
            if self._loop is None:
                self._loop = EventLoop(blocked=self.replace_loop, returned=self.returned)
            return self._loop

    def replace_loop(self, blocked: EventLoop) -> None:
        """Abandon the thread of a loop that a step blocks. The next async step starts another one."""
        with self._condition:
            if self._loop is blocked:
                self._loop = None
        self.abandon()

    def run_in_thread(self, watch: Watch, context: Context, body: Callable[[], _Result]) -> _Result | Failed:
        """Run `body` in another thread. If a step exceeds its limit, abandon the thread and return the failure."""
        job = _Job(watch, context, body)
        with self._condition:
            thread = self._idle.pop() if self._idle else None
        if thread is None:
            thread = _StepThread(self)
            thread.start()
        thread.jobs.put(job)
        while not job.ended.acquire(timeout=watch.seconds_to_check()):
            failed = watch.abandon_if_overdue()
            if failed is not None:
                return failed
        result: _Result = job.result
        return result

    def is_reusable(self, thread: _StepThread, watch: Watch) -> bool:
        """Keep a thread for another transition. Return False if it was abandoned and has to end."""
        if watch.is_abandoned:
            self.returned()
            return False
        with self._condition:
            self._idle.append(thread)
        return True


LOCAL: Final = Supervisor()
"""For runs without a worker."""


class _Job:
    def __init__(self, watch: Watch, context: Context, body: Callable[[], Any]) -> None:
        self.watch = watch
        self.context = context
        self.body = body
        self.result: Any = None
        self.ended = threading.Lock()
        self.ended.acquire()


class _StepThread(threading.Thread):
    """Runs one transition after the other. The process may end while it runs."""

    def __init__(self, supervisor: Supervisor) -> None:
        super().__init__(name="steps", daemon=True)
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self._supervisor = supervisor

    def run(self) -> None:
        is_reusable = True
        while is_reusable:
            is_reusable = self._run(self.jobs.get())

    def _run(self, job: _Job) -> bool:
        try:
            job.result = job.context.run(job.body)
        except BaseException as error:
            job.result = failed_by(error)
        is_reusable = self._supervisor.is_reusable(self, job.watch)
        job.ended.release()
        return is_reusable


@dataclass(slots=True)
class _Call:
    """A call of an ordinary step. While it waits for a step before it, it has `rest` seconds and no deadline."""

    step: PlannedStep
    limit: float | None
    begun: float
    deadline: float | None
    rest: float | None = None


class Watch:
    """The calls that one transition makes now, with their deadlines. Safe to use from many threads.

    The limit of a step counts for each call, and for each item that a generator yields. Streams are lazy, so a step may
    run while another one waits for its items. The time of the former does not count for the latter. `record` gets the
    index of a step that is abandoned, and when its call began, as `time.time` gives it.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        limits: Limits,
        is_cancelled: Callable[[], bool],
        record: Callable[[int, float], object] | None = None,
    ) -> None:
        self.supervisor = supervisor
        self._record = record
        self.limits = limits
        self.is_abandoned = False
        self.item_threads: set[int] = set()
        """The threads whose calls `overdue_item` is asked about. A call of another one is that of the transition."""
        self._is_cancelled = is_cancelled
        self._shortest = min(limits.values(), default=0.0)
        self._lock = threading.Lock()
        self._calls: dict[int, list[_Call]] = {}  # by thread, the innermost last

    def is_over(self) -> bool:
        """Return True once the outcome of the transition no longer counts."""
        return self.is_abandoned or self._is_cancelled()

    def context(self, make: Callable[[], StepContext]) -> Callable[[], StepContext]:
        return lambda: replace(make(), cancellation=self.is_over)

    def keep(self, keep: Callable[_Kept, None]) -> Callable[_Kept, None]:
        """Return a function that drops the checkpoints and items of an abandoned transition."""

        def kept(*arguments: _Kept.args, **named: _Kept.kwargs) -> None:
            if not self.is_abandoned:
                keep(*arguments, **named)

        return kept

    def around(
        self, around: Callable[[PlannedStep, Callable[[], Any]], Any] | None
    ) -> Callable[[PlannedStep, Callable[[], Any]], Any]:
        """Return what makes the calls of steps, as `around` does, and watches them."""

        def call(step: PlannedStep, function: Callable[[], Any]) -> Any:
            self._begin(step)
            try:
                return function() if around is None else around(step, function)
            finally:
                self._end()

        return call

    def _begin(self, step: PlannedStep) -> None:
        now = time.monotonic()
        limit = None if step.is_async else self.limits.get(step.limit_key)
        with self._lock:
            calls = self._calls.setdefault(threading.get_ident(), [])
            if calls and (waiting := calls[-1]).deadline is not None:
                waiting.rest, waiting.deadline = waiting.deadline - now, None
            calls.append(_Call(step, limit, now, None if limit is None else now + limit))

    def _end(self) -> None:
        now, thread = time.monotonic(), threading.get_ident()
        with self._lock:
            calls = self._calls[thread]
            calls.pop()
            if not calls:
                del self._calls[thread]
            elif (waiting := calls[-1]).rest is not None:
                waiting.deadline, waiting.rest = now + waiting.rest, None

    def seconds_to_check(self) -> float:
        """Return after how many seconds the next call may be overdue, also one that begins until then."""
        now = time.monotonic()
        with self._lock:
            rests = [
                call.rest if call.deadline is None else call.deadline - now
                for calls in self._calls.values()
                for call in calls
            ]
        return max(min([self._shortest, *(rest for rest in rests if rest is not None)]), LEAST_WAIT)

    def abandon_if_overdue(self) -> Failed | None:
        """Return the failure of a call that has exceeded its limit. The transition is then abandoned."""
        now, begin = time.monotonic(), _StepThread.run.__code__
        with self._lock:
            for thread, calls in self._calls.items():
                if (
                    thread not in self.item_threads
                    and (failed := self._overrun(thread, calls[-1], now, begin)) is not None
                ):
                    self.supervisor.abandon()  # before the thread can learn of it and return
                    self.is_abandoned = True
                    return failed
        return None

    def overdue_item(self, thread: int, begin: CodeType) -> Failed | None:
        """Return the failure of the call for an item that a thread runs below `begin`, if it has exceeded its limit."""
        with self._lock:
            calls = self._calls.get(thread)
            return self._overrun(thread, calls[-1], time.monotonic(), begin) if calls else None

    def seconds_of_items(self, threads: Iterable[int]) -> float:
        """Return after how many seconds a call in one of the threads, or one that begins until then, may be overdue."""
        now = time.monotonic()
        with self._lock:
            deadlines = [calls[-1].deadline for thread in threads if (calls := self._calls.get(thread))]
        return max(
            min([self._shortest, *(deadline - now for deadline in deadlines if deadline is not None)]), LEAST_WAIT
        )

    def _overrun(self, thread: int, call: _Call, now: float, begin: CodeType) -> Failed | None:
        if call.limit is None or call.deadline is None or call.deadline > now:
            return None
        if self._record is not None:
            self._record(call.step.index, time.time() - (now - call.begun))
        return timed_out(call.step, call.limit, stack_of(thread, begin))


current: Final[ContextVar[Watch]] = ContextVar("watch")
"""The watch of the transition that runs."""


def timed_out(step: PlannedStep, limit: float, stack: TracebackType | None = None) -> Failed:
    """Return the failure of a step that has exceeded its limit. `stack` says what it does now."""
    return failed_by(StepTimeout(limit).with_traceback(stack), step.policy, step_index=step.index, step_name=step.name)


def supervised(
    watch: Watch, steps: Sequence[PlannedStep], run: Callable[[tuple[PlannedStep, ...]], _Result]
) -> _Result | Failed:
    """Run the steps of a transition. `run` gets them with functions that a thread can call."""
    context = copy_context()
    context.run(current.set, watch)
    callable_steps = tuple(map(_callable, steps))
    if any(function.limit_key in watch.limits and not function.is_async for step in steps for function in step.called):
        return watch.supervisor.run_in_thread(watch, context, lambda: run(callable_steps))
    return context.run(run, callable_steps)


def _callable(step: PlannedStep) -> PlannedStep:
    """Return the step with functions that a thread can call."""
    if step.branching is not None:
        return replace(step, branching=step.branching.with_functions(_callable))
    if step.condition is not None:
        return replace(step, condition=_callable(step.condition))
    return replace(step, function=_blocking(step)) if step.is_async else step


def _blocking(step: PlannedStep) -> Callable[..., Any]:
    """Return a function that calls an async step on the event loop and waits for its result."""
    function = step.function
    if function is None:
        raise TypeError(f"step {step.name} is an await")
    generates = inspect.isasyncgenfunction(function)

    def call(value: Any, *more: Any) -> Any:
        watch, source = current.get(), None
        loop = watch.supervisor.event_loop()
        if step.reads_async:
            value = source = loop.reading(value)
        elif step.cardinality.takes_many and not step.collects:
            value = iter(list(value))  # the loop must not run the steps before this one
        run = loop.items if generates else loop.call
        return run(step.name, function(value, *more), watch.limits.get(step.limit_key), watch.is_over, source)

    return call
