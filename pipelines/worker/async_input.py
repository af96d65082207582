"""The stream that an async step reads with ``async for``."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, Final

_END: Final = object()
_Found = tuple[Any, BaseException | None]
"""An item, or the exception with which the stream ends."""


class AsyncInput:
    """An async iterator over `items`, which the thread that waits for the step produces, one by one when needed.

    So the steps before an async step run where they always run. That thread takes what it has to do from `requests`.
    An item that comes after its reader was cancelled is for the next reader. Only the event loop calls the methods.
    """

    def __init__(self, items: Iterator[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.requests: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._pause: Callable[[bool], object] = bool
        self._items = items
        self._loop = loop
        self._readers: deque[asyncio.Future[_Found]] = deque()
        self._unread: deque[_Found] = deque()
        self._requested = 0
        self._is_closed = False

    def begin(self, pause: Callable[[bool], object]) -> None:
        """Begin a call of the step. `pause` is called with whether the step waits for items, after each change."""
        self._pause = pause
        pause(bool(self._readers))

    def __aiter__(self) -> AsyncInput:
        return self

    async def __anext__(self) -> Any:
        item, error = self._unread.popleft() if self._unread else await self._next()
        if error is not None:
            raise error
        if item is _END:
            raise StopAsyncIteration
        return item

    async def _next(self) -> _Found:
        if self._is_closed:
            raise RuntimeError("the step has ended, so its input cannot be read")
        reader: asyncio.Future[_Found] = self._loop.create_future()
        self._readers.append(reader)
        if self._requested < len(self._readers):
            self._requested += 1
            self.requests.put(self._produce)
        self._pause(True)
        try:
            return await reader
        except BaseException:
            if reader in self._readers:
                self._readers.remove(reader)
            elif reader.done() and not reader.cancelled() and not self._passed_on(reader.result()):
                self._unread.appendleft(reader.result())
            raise
        finally:
            self._pause(bool(self._readers))

    def _produce(self) -> None:
        """Produce one item. Runs in the thread that waits for the step."""
        item: _Found
        try:
            item = next(self._items, _END), None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            item = None, error
        self._loop.call_soon_threadsafe(self._arrived, item)

    def _arrived(self, item: _Found) -> None:
        self._requested -= 1
        if not self._passed_on(item):
            self._unread.append(item)

    def _passed_on(self, item: _Found) -> bool:
        """Pass an item to the first reader that still waits. Return False if no reader waits."""
        while self._readers:
            reader = self._readers.popleft()
            if not reader.done():
                reader.set_result(item)
                return True
        return False

    def close(self) -> None:
        """End those that still wait for an item, because the step has ended."""
        self._is_closed = True
        for reader in self._readers:
            reader.cancel()
