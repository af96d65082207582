"""The event loop of a worker, on which its async steps run. Each call has a thread that waits for its result."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final

from pipelines.authoring import places
from pipelines.errors import Cancelled, StepTimeout
from pipelines.failures import stack_of, warn, warn_of

CLEANUP_SECONDS: Final = 5.0
"""How long a cancelled step may clean up. Then the worker no longer waits for it."""
BLOCKED_SECONDS: Final = 1.0
"""After how many seconds without a turn of the loop the step that blocks it is logged."""
CHECK_SECONDS: Final = 0.25
_END: Final = object()


class _Call:
    """One call of an async step, or of its generator for one item."""

    def __init__(self, step: str, limit: float | None, is_over: Callable[[], bool]) -> None:
        self.step = step
        self.limit = limit
        self.is_over = is_over
        self.since = time.monotonic()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.stopped: BaseException | None = None
        """Why the call was cancelled."""
        self.stopped_at = 0.0
        self.value: Any = None
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self._first = threading.Lock()

    def finish(self, value: Any = None, error: BaseException | None = None) -> None:
        """Let the waiting thread continue. Only the first result counts."""
        if not self._first.acquire(blocking=False):
            return
        if self.stopped is not None:
            trace = None if error is None else error.__traceback__
            error = self.stopped.with_traceback(trace)
        self.value, self.error = value, error
        self.ended.set()

    def is_overdue(self, now: float) -> bool:
        """Return True if the loop had to end this call and did not."""
        if self.stopped is not None:
            return now > self.stopped_at + CLEANUP_SECONDS
        return self.limit is not None and now > self.since + self.limit + CLEANUP_SECONDS


class EventLoop:
    """Runs coroutines of steps in one thread, for any number of waiting threads.

    `blocked` is called once a step has blocked the loop for so long that a call could not end, and `returned` when such
    a step has returned. A loop that was blocked ends after its last call, so use another one.
    """

    def __init__(self, blocked: Callable[[EventLoop], object], returned: Callable[[], object]) -> None:
        self._blocked = blocked
        self._returned = returned
        self._loop = asyncio.new_event_loop()
        self._calls: set[_Call] = set()
        self._has_calls = threading.Event()
        self._asked_at: float | None = None  # when the loop was last asked for a sign of life that it has not given
        self._is_named = False
        self._is_replaced = False
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._run, name="async-steps", daemon=True)
        self._thread.start()
        threading.Thread(target=self._monitor, name="async-monitor", daemon=True).start()

    def call(
        self, step: str, coroutine: Coroutine[Any, Any, Any], limit: float | None, is_over: Callable[[], bool]
    ) -> Any:
        """Run `coroutine` of the step and return its result.

        It is cancelled after `limit` seconds, or once `is_over` returns True. Raises `StepTimeout` or `Cancelled` then,
        and otherwise what the coroutine raises.
        """
        return self._wait(_Call(step, limit, is_over), partial(self._start, coroutine, copy_context()))

    def items(
        self, step: str, generator: AsyncGenerator[Any, Any], limit: float | None, is_over: Callable[[], bool]
    ) -> Iterator[Any]:
        """Yield the items of `generator`, which runs in one task. Each is produced when it is needed.

        `limit` is for one item. Raises what `call` raises.
        """
        source = _Source(generator, copy_context())
        try:
            while (item := self._wait(_Call(step, limit, is_over), source.request)) is not _END:
                yield item
        finally:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(source.close)

    def _start(self, coroutine: Coroutine[Any, Any, Any], context: Context, call: _Call) -> asyncio.Task[None]:
        task = self._loop.create_task(_finishing(call, coroutine), name=call.step, context=context)
        task.add_done_callback(lambda _: call.finish(error=Cancelled("The step was cancelled before it began.")))
        return task

    def _wait(self, call: _Call, start: Callable[[_Call], asyncio.Task[None]]) -> Any:
        self._calls.add(call)
        self._has_calls.set()
        try:
            self._loop.call_soon_threadsafe(self._begin, call, start)
            call.ended.wait()
        except BaseException:  # KeyboardInterrupt in the main thread
            self._loop.call_soon_threadsafe(self._stop, call, Cancelled("The run was interrupted."))
            raise
        finally:
            self._calls.discard(call)
        if call.error is not None:
            raise call.error
        return call.value

    def _begin(self, call: _Call, start: Callable[[_Call], asyncio.Task[None]]) -> None:
        call.task = start(call)
        if call.limit is not None:
            call.timer = self._loop.call_later(call.limit, self._stop, call, StepTimeout(call.limit))

    def _stop(self, call: _Call, reason: BaseException) -> None:
        """Cancel a call. It may clean up for CLEANUP_SECONDS."""
        if call.stopped is not None or call.ended.is_set() or call.task is None:
            return
        call.stopped, call.stopped_at = reason, time.monotonic()
        call.task.cancel()
        self._loop.call_later(CLEANUP_SECONDS, self._give_up, call)

    def _give_up(self, call: _Call) -> None:
        if not call.ended.is_set():
            warn('Step "%s" did not end within %d s after it was cancelled', call.step, CLEANUP_SECONDS)
            call.finish()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
            except BaseException as error:  # such as SystemExit in a task of the author
                warn_of(error, "A task ended the event loop, which continues")
            else:
                break
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
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _check(self, now: float) -> None:
        calls = list(self._calls)
        for call in calls:
            if call.stopped is None and call.is_over():
                reason = Cancelled("The outcome of this transition no longer counts.")
                self._loop.call_soon_threadsafe(self._stop, call, reason)
        if self._asked_at is None:
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answer)
        elif now - self._asked_at > BLOCKED_SECONDS:
            self._name_blocking_step(now - self._asked_at)
            self._give_up_overdue(calls, now)

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

    def _give_up_overdue(self, calls: list[_Call], now: float) -> None:
        """End the calls that the blocked loop should have ended, and leave the loop to the step that blocks it."""
        for call in calls:
            if call.is_overdue(now) or (call.is_over() and now - (self._asked_at or now) > CLEANUP_SECONDS):
                if not self._is_replaced:
                    self._is_replaced = self._is_abandoned = True
                    self._blocked(self)
                call.stopped = call.stopped or (
                    StepTimeout(call.limit) if call.limit is not None else Cancelled("The event loop is blocked.")
                )
                is_blocking = call.task is not None and call.task is asyncio.current_task(self._loop)
                stack = stack_of(self._thread.ident or 0, *_BEGIN) if is_blocking else None
                call.finish(error=TimeoutError().with_traceback(stack))


async def _finishing(call: _Call, coroutine: Coroutine[Any, Any, Any]) -> None:
    """Pass the result of a coroutine to the call. Raises nothing: SystemExit would end the loop."""
    try:
        value = await coroutine
    except BaseException as error:
        call.finish(error=error)
    else:
        call.finish(value)
    finally:
        if call.timer is not None:
            call.timer.cancel()


class _Source:
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
            if call.timer is not None:
                call.timer.cancel()
            call.finish(value, error)


_BEGIN: Final = (_finishing.__code__, _Source._run.__code__)
"""The functions that call the author's code on the loop."""
