"""The event loop of a worker, on which its async steps run. Each call has a thread that waits for its result.

Meanwhile, that thread produces the items of the stream that the step reads.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Final

from pipelines.authoring import places
from pipelines.errors import Cancelled, EventLoopBlocked, StepTimeout
from pipelines.failures import stack_of, warn, warn_of
from pipelines.worker.async_input import AsyncInput
from pipelines.worker.daemon_threads import DaemonThreads

CLEANUP_SECONDS: Final = 5.0
"""How long a cancelled step may clean up. Then the worker no longer waits for it."""
BLOCKED_SECONDS: Final = 1.0
"""After how many seconds without a turn of the loop the step that blocks it is logged."""
LONGEST_BLOCK: Final = 60.0
"""After how many seconds without a turn the loop is left to the step that blocks it."""
CHECK_SECONDS: Final = 0.25
MOST_THREADS: Final = 256
"""How many calls of `asyncio.to_thread` run at once. Python's default is a few more than the processor has cores."""
_END: Final = object()


class _Call:
    """One call of an async step, or of its generator for one item."""

    def __init__(
        self, step: str, limit: float | None, is_over: Callable[[], bool], source: AsyncInput | None = None
    ) -> None:
        self.step = step
        self.limit = limit
        self.is_over = is_over
        self.deadline = None if limit is None else time.monotonic() + limit
        """None while the step waits for its input, too."""
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.stopped: BaseException | None = None
        """Why the call was cancelled."""
        self.stopped_at = 0.0
        self.value: Any = None
        self.error: BaseException | None = None
        self.has_ended = False
        self.requests: SimpleQueue[Callable[[], None] | None] = source.requests if source else SimpleQueue()
        """What the waiting thread has to do. None is the last request."""
        self._first = threading.Lock()
        self._rest = 0.0

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:
        """Let the waiting thread continue. Only the first result counts."""
        if not self._first.acquire(blocking=False):
            return
        if self.stopped is not None:
            trace = None if error is None else error.__traceback__
            error = self.stopped.with_traceback(trace)
        self.value, self.error = value, error
        self.has_ended = True
        self.requests.put(None)

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def arm(self, loop: asyncio.AbstractEventLoop, expire: Callable[[_Call, BaseException], object]) -> None:
        """Call `expire` at the deadline, unless the call ends before."""
        if self.deadline is not None and self.limit is not None:
            rest = self.deadline - time.monotonic()
            self.timer = loop.call_later(rest, expire, self, StepTimeout(self.limit))

    def pause(self, is_reading: bool, rearm: Callable[[_Call], object]) -> None:
        """Exclude the time in which the step waits for items from its limit."""
        if self.limit is None or self.has_ended:
            return
        if is_reading and self.deadline is not None:
            self._rest, self.deadline = self.deadline - time.monotonic(), None
            self.disarm()
        elif not is_reading and self.deadline is None:
            self.deadline = time.monotonic() + self._rest
            rearm(self)

    def is_overdue(self, now: float) -> bool:
        """Return True if the loop had to end this call and did not."""
        if self.stopped is not None:
            return now > self.stopped_at + CLEANUP_SECONDS
        deadline = self.deadline
        return deadline is not None and now > deadline + CLEANUP_SECONDS


class EventLoop:
    """Runs coroutines of steps in one thread, for any number of waiting threads.

    `blocked` is called once a step has blocked the loop for so long that a call could not end, and `returned` when such
    a step has returned. A loop that was blocked ends after its last call, so use another one.
    """

    def __init__(self, blocked: Callable[[EventLoop], object], returned: Callable[[], object]) -> None:
        self._blocked = blocked
        self._returned = returned
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(DaemonThreads(MOST_THREADS, "async-thread"))
        self._calls: set[_Call] = set()
        self._has_calls = threading.Event()
        self._asked_at: float | None = None  # when the loop was last asked for a sign of life that it has not given
        self._is_named = False
        self._is_replaced = False
        self._is_abandoned = False
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="async-steps", daemon=True)
        self._thread.start()
        threading.Thread(target=self._monitor, name="async-monitor", daemon=True).start()

    def reading(self, items: Iterator[Any]) -> AsyncInput:
        """Return the input of an async step that reads `items` while it runs. Pass it to `call` or `items` too."""
        return AsyncInput(items, self._loop)

    def call(
        self,
        step: str,
        coroutine: Coroutine[Any, Any, Any],
        limit: float | None,
        is_over: Callable[[], bool],
        source: AsyncInput | None = None,
    ) -> Any:
        """Run `coroutine` of the step and return its result.

        It is cancelled after `limit` seconds, or once `is_over` returns True. Raises `StepTimeout` or `Cancelled` then,
        `EventLoopBlocked` if another call blocks the loop, and otherwise what the coroutine or `source` raises.
        """
        call = _Call(step, limit, is_over, source)
        try:
            return self._wait(call, partial(self._start, coroutine, copy_context()), source)
        finally:
            self._close(source)

    def items(
        self,
        step: str,
        generator: AsyncGenerator[Any, Any],
        limit: float | None,
        is_over: Callable[[], bool],
        source: AsyncInput | None = None,
    ) -> Iterator[Any]:
        """Yield the items of `generator`, which runs in one task. Each is produced when it is needed.

        `limit` is for one item. Raises what `call` raises.
        """
        task = _GeneratorTask(generator, copy_context())
        try:
            while (item := self._wait(_Call(step, limit, is_over, source), task.request, source)) is not _END:
                yield item
        finally:
            self._close(task)
            self._close(source)

    def _close(self, opened: AsyncInput | _GeneratorTask | None) -> None:
        if opened is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(opened.close)

    def _start(self, coroutine: Coroutine[Any, Any, Any], context: Context, call: _Call) -> asyncio.Task[None]:
        task = self._loop.create_task(_finishing(call, coroutine), name=call.step, context=context)
        task.add_done_callback(lambda _: call.finish(error=Cancelled("The step was cancelled before it began.")))
        return task

    def _wait(self, call: _Call, start: Callable[[_Call], asyncio.Task[None]], source: AsyncInput | None) -> Any:
        self._calls.add(call)
        self._has_calls.set()
        try:
            self._loop.call_soon_threadsafe(self._begin, call, start, source)
            while (request := call.requests.get()) is not None:
                request()
        except BaseException:  # KeyboardInterrupt in the main thread
            self._loop.call_soon_threadsafe(self._stop, call, Cancelled("The run was interrupted."))
            raise
        finally:
            self._calls.discard(call)
        if call.error is not None:
            raise call.error
        return call.value

    def _begin(self, call: _Call, start: Callable[[_Call], asyncio.Task[None]], source: AsyncInput | None) -> None:
        if call.has_ended:  # the loop was blocked
            return
        call.deadline = None if call.limit is None else time.monotonic() + call.limit
        self._arm(call)
        if source is not None:
            source.begin(partial(call.pause, rearm=self._arm))
        call.task = start(call)

    def _arm(self, call: _Call) -> None:
        call.arm(self._loop, self._stop)

    def _stop(self, call: _Call, reason: BaseException) -> None:
        """Cancel a call. It may clean up for CLEANUP_SECONDS."""
        if call.stopped is not None or call.has_ended or call.task is None:
            return
        call.stopped, call.stopped_at = reason, time.monotonic()
        call.task.cancel()
        self._loop.call_later(CLEANUP_SECONDS, self._give_up, call)

    def _give_up(self, call: _Call) -> None:
        if not call.has_ended:
            warn('Step "%s" did not end within %d s after it was cancelled', call.step, CLEANUP_SECONDS)
            call.finish()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._has_ended:
            try:
                self._loop.run_forever()
            except BaseException as error:  # such as SystemExit in a task of the author
                warn_of(error, "A task ended the event loop, which continues")
        self._loop.close()
        for call in list(self._calls):  # a generator that continues after the loop was replaced
            call.finish(error=RuntimeError("The event loop has ended."))

    def _monitor(self) -> None:
        """Cancel calls whose outcome no longer counts, and find steps that block the loop."""
        while not self._is_replaced or self._calls or self._asked_at is not None:
            self._has_calls.wait()
            if not self._calls and self._asked_at is None:
                self._has_calls.clear()
                continue
            try:
                self._check(time.monotonic())
            except BaseException as error:
                warn_of(error, "The event loop could not be checked")
            time.sleep(CHECK_SECONDS)
        self._has_ended = True  # a step may stop the loop too, which then continues
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _check(self, now: float) -> None:
        calls = list(self._calls)
        for call in calls:
            if call.stopped is None and call.is_over():
                self._loop.call_soon_threadsafe(self._stop, call, Cancelled())
        if self._asked_at is None:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answer)
        elif now - self._asked_at > BLOCKED_SECONDS:
            self._name_blocking_step(now - self._asked_at)
            self._give_up_overdue(calls, now, now - self._asked_at)

    def _answer(self) -> None:
        self._asked_at, self._is_named = None, False
        if self._is_abandoned:
            self._is_abandoned = False
            self._returned()

    def _name_blocking_step(self, seconds: float) -> None:
        if self._is_named:
            return
        self._is_named = True
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._thread.ident or 0)
        warn(
            'Step "%s" has blocked the event loop for %.1f s at %s: no other async step continues meanwhile. Write the '
            "step with def, or call what blocks with await asyncio.to_thread(...)",
            task.get_name() if task is not None else "unknown",
            seconds,
            places.of_stack(frame) or "an unknown place",
        )

    def _give_up_overdue(self, calls: list[_Call], now: float, blocked: float) -> None:
        """End the calls that the blocked loop should have ended, and leave the loop to the step that blocks it.

        After LONGEST_BLOCK, all other calls end too, so that their executions can run again elsewhere.
        """
        is_lost = blocked > LONGEST_BLOCK
        if is_lost:
            self._abandon()
        running = asyncio.current_task(self._loop)
        for call in calls:
            is_blocking = call.task is not None and call.task is running
            is_overdue = call.is_overdue(now) or (blocked > CLEANUP_SECONDS and call.is_over())
            if is_overdue or (is_lost and not is_blocking):
                self._abandon()
                late = Cancelled("The event loop is blocked.") if call.limit is None else StepTimeout(call.limit)
                call.stopped = call.stopped or (late if is_overdue else EventLoopBlocked(blocked))
                stack = stack_of(self._thread.ident or 0, *_BEGIN) if is_blocking else None
                call.finish(error=TimeoutError().with_traceback(stack))
                if call.task is not None:
                    self._loop.call_soon_threadsafe(call.task.cancel)

    def _abandon(self) -> None:
        if not self._is_replaced:
            self._is_replaced = self._is_abandoned = True
            self._blocked(self)


async def _finishing(call: _Call, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Pass the result of a coroutine to the call. Raises nothing: SystemExit would end the loop."""
    try:
        value = await coroutine
    except BaseException as error:
        call.finish(error=error)
    else:
        call.finish(value)
    finally:
        call.disarm()


class _GeneratorTask:
    """An async generator in one task, so that it may hold a timeout or a group of tasks open while it yields."""

    def __init__(self, generator: AsyncGenerator[Any, Any], context: Context) -> None:
        self._generator = generator
        self._context = context
        self._call: _Call | None = None
        self._task: asyncio.Task[None] | None = None
        self._requested = asyncio.Event()

    def request(self, call: _Call) -> asyncio.Task[None]:
        """Let the generator continue to its next item. Runs on the loop."""
        self._call = call
        if self._task is None:
            task = self._run()
            self._task = asyncio.get_running_loop().create_task(task, name=call.step, context=self._context)
        elif self._task.done():
            call.finish(error=Cancelled("The generator was cancelled."))
        self._requested.set()
        return self._task

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            async with aclosing(self._generator) as items:
                await self._next()
                async for item in items:
                    self._finish(item)
                    await self._next()
        except BaseException as error:
            self._finish(error=error)
        else:
            self._finish(_END)

    async def _next(self) -> None:
        await self._requested.wait()
        self._requested.clear()

    def _finish(self, value: Any = None, error: BaseException | None = None) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.disarm()
            call.finish(value, error)


_BEGIN: Final = (_finishing.__code__, _GeneratorTask._run.__code__)
"""The functions that call the author's code on the loop."""
