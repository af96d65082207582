"""A pool of threads that may never end, because they run the author's code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")


class DaemonThreads(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` whose threads do not keep the process from ending.

    At its exit, Python joins the threads of every other pool, also those that are blocked in a library forever.
    """

    def __init__(self, most: int, name: str) -> None:
        super().__init__(most)  # starts no thread, because `submit` is replaced
        self._name = name
        self._most = most
        self._tasks: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._started: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._unfinished = 0
        self._is_closed = False

    def submit(
        self, fn: Callable[_Arguments, _Result], /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> Future[_Result]:
        future: Future[_Result] = Future()
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the pool is closed")
            if len(self._started) < min(self._unfinished + 1, self._most):
                self._started.append(threading.Thread(target=self._work, name=self._name, daemon=True))
                self._started[-1].start()
            self._unfinished += 1
            self._tasks.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more. With `cancel_futures`, drop what has not begun. With `wait`, wait for the threads."""
        with self._lock:
            self._is_closed = True
            with suppress(Empty):
                while cancel_futures and (task := self._tasks.get_nowait()) is not None:
                    task[0].cancel()
            for _ in self._started:
                self._tasks.put(None)
        for thread in self._started if wait else ():
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            _run(*task)
            del task  # it refers to the author's values
            with self._lock:
                self._unfinished -= 1


def _run(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
