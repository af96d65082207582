"""The rules of submissions, waits and answers, for callers with threads and with an event loop (ADR 108).

A rule is a generator. It yields each request and each pause, and gets the response or the error. `Caller` and
`AsyncCaller` carry them out. All requests are safe to repeat, so each one is repeated while its failure may pass.
"""

from __future__ import annotations

import json
import logging
import random
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from coordinator_client.api import (
    ENDED,
    MOST_BYTES,
    Client,
    Connection,
    Request,
    cursor_of,
    document_of,
    explained,
    items_of,
    path,
)
from coordinator_client.errors import (
    Broken,
    ClientError,
    ExecutionUnfinished,
    ExecutionUnknown,
    Refused,
    TooManyRequests,
    Unreachable,
)
from coordinator_client.http import Idle

log = logging.getLogger(__name__)
WAIT_SECONDS: Final = 20
"""How long the coordinator holds one request for the end of an execution."""
CROWDED_WAIT_SECONDS: Final = 2
"""The same, while other requests wait for a connection."""
GRACE_SECONDS: Final = 2.0
"""How much longer than the caller waits a request for the end of an execution may take."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
MOST_ITEMS: Final = 1000
BATCH_BYTES: Final = 4 * 2**20
"""The largest batch. By default, a coordinator accepts eight MiB."""
BATCH_VALUES: Final = 99_000
"""How many JSON values a batch may contain. A coordinator reads at most 100,000 from one request."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Flow = Generator[Request | Pause, Any, _T]


class NotFinished(ClientError, TimeoutError):
    """The execution has not ended in time. It continues. `status` is what it was then."""

    retryable = True

    def __init__(self, document: Mapping[str, Any], seconds: float) -> None:
        self.status = str(document.get("status"))
        execution = document.get("executionId")
        super().__init__(f"execution {execution} is {self.status} after {seconds:g} seconds; it continues")


class ExecutionFailed(ClientError):
    """The execution has failed. `code` is the name of the class of the step's exception, or a code of the coordinator.

    `execution_id` is a UUID as text. `detail` is the message, and empty if the token may not read payloads. `traceback`
    is that of the step, and empty if the worker reported none.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        error = document.get("error") or {}
        self.execution_id = str(document.get("executionId"))
        self.status = str(document.get("status"))
        self.code = str(error.get("code") or self.status)
        self.detail = str(error.get("message") or "")
        self.traceback = str(error.get("traceback") or "")
        text = f"execution {self.execution_id} is {self.status}: {self.code}"
        super().__init__("\n".join(part for part in (f"{text}: {self.detail}", self.traceback) if part))


class ExecutionCancelled(ClientError):
    """The execution was cancelled, so it has no result. `execution_id` is a UUID as text."""

    code = "CANCELLED"

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.execution_id = str(document.get("executionId"))
        super().__init__(f"execution {self.execution_id} was cancelled")


def execution_path(execution_id: str, *more: str) -> str:
    """Return the path of an execution. Raises `ExecutionUnknown` if the id cannot be one."""
    try:
        return path("executions", str(uuid.UUID(execution_id)), *more)
    except ValueError:
        problem = {"code": "EXECUTION_UNKNOWN", "detail": f"{execution_id[:100]!r} is not the id of an execution."}
        raise ExecutionUnknown(404, {}, problem) from None


def repeated(request: Request, seconds: float) -> Flow[dict[str, Any]]:
    """Send a request until it succeeds or cannot succeed. Repeat it for `seconds`, no sooner than the server asks."""
    deadline, pause = time.monotonic() + seconds, FIRST_PAUSE
    while True:
        try:
            page: dict[str, Any] = yield request
        except ClientError as error:
            wait, left = _pause_after(error, pause), deadline - time.monotonic()
            if not error.retryable or left <= 0 or (_asked(error) or 0) > left:
                raise
            wait = min(wait, left)
        else:
            return page
        yield Pause(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


def ended(
    execution_id: str, timeout: float | None, retry_seconds: float, longest_wait: Callable[[], int], *more: str
) -> Flow[dict[str, Any]]:
    """Return the execution once it has ended, or with `more` what is below its path then.

    Raises `NotFinished` after `timeout` seconds. The coordinator holds each request for at most `longest_wait()`
    seconds. Refusals because of too many requests do not end the wait.
    """
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    document: Mapping[str, Any] = {"executionId": execution_id, "status": "not known"}
    target, pause = execution_path(execution_id, *more), FIRST_PAUSE
    while True:
        left = max(deadline - time.monotonic(), 0)
        wait = int(min(longest_wait(), left))
        began = time.monotonic()
        try:
            request = Request("GET", target, {"wait": wait or None}, seconds=left + GRACE_SECONDS)
            try:
                document = yield from repeated(request, min(retry_seconds, left))
            except ExecutionUnfinished as error:
                document = {"executionId": execution_id, "status": error.execution_status}
            if document.get("status") in ENDED:
                return dict(document)
            # A server that stops, or one without waits, responds at once.
            pause = min(2 * pause, LONGEST_PAUSE) if time.monotonic() - began < wait / 2 else FIRST_PAUSE
        except TooManyRequests as error:
            pause = _pause_after(error, pause)
        except Unreachable:
            if time.monotonic() < deadline - 1:
                raise
        if (left := deadline - time.monotonic()) <= 0:
            raise NotFinished(document, timeout or 0)
        yield Pause(min(pause, left))


def result(
    execution_id: str, timeout: float | None, retry_seconds: float, longest_wait: Callable[[], int]
) -> Flow[Any]:
    """Return the result of an execution once it has ended.

    Raises `ExecutionFailed`, `ExecutionCancelled`, and `NotFinished` after `timeout` seconds.
    """
    document = yield from ended(execution_id, timeout, retry_seconds, longest_wait, "result")
    if document["status"] == "CANCELLED":
        raise ExecutionCancelled(document)
    if document["status"] != "SUCCEEDED":
        failed = yield from repeated(Request("GET", execution_path(execution_id)), retry_seconds)  # with the traceback
        raise ExecutionFailed({**document, "error": failed.get("error") or document.get("error")})
    return document.get("result")


def submissions(items: Iterable[Mapping[str, Any]], retry_seconds: float) -> Flow[list[dict[str, Any] | Refused]]:
    """Submit many executions, in batches. Return the execution or the refusal of each, in the same order.

    An item that is refused for the moment is sent again for `retry_seconds`.
    """
    answers: list[dict[str, Any] | Refused] = []
    for batch in _batches(items):
        verdicts: list[dict[str, Any] | Refused | None] = [None] * len(batch)
        deadline, pause = time.monotonic() + retry_seconds, FIRST_PAUSE
        while open_items := [index for index, verdict in enumerate(verdicts) if verdict is None or _may_pass(verdict)]:
            body = b'{"items":[' + b",".join(batch[index] for index in open_items) + b"]}"
            answer = yield from repeated(Request("POST", "executions:batch", body=body), retry_seconds)
            for index, item in zip(open_items, items_of(answer), strict=True):
                problem = item.get("problem")
                verdicts[index] = item["execution"] if problem is None else Refused(item["status"], {}, problem)
            if not any(_may_pass(verdict) for verdict in verdicts) or time.monotonic() + pause > deadline:
                break
            yield Pause(random.uniform(pause / 2, pause))  # noqa: S311 - no secret
            pause = min(2 * pause, LONGEST_PAUSE)
        answers += [verdict for verdict in verdicts if verdict is not None]
    return answers


def pages(target: str, query: Mapping[str, Any], retry_seconds: float) -> Flow[list[dict[str, Any]]]:
    """Return all items of a list."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = yield from repeated(Request("GET", target, {**query, "pageSize": 500, "cursor": cursor}), retry_seconds)
        items += items_of(page)
        following = cursor_of(page)
        if following is None or following == cursor:
            return items
        cursor = following


def _batches(items: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[bytes]]:
    batch, size, values = list[bytes](), 0, 0
    for item in items:
        text = json.dumps(item).encode()
        # Each value but the first follows one of these. Some of them are in texts, which only makes batches smaller.
        more = 1 + text.count(b",") + text.count(b"[") + text.count(b"{")
        if batch and (len(batch) == MOST_ITEMS or size + len(text) > BATCH_BYTES or values + more > BATCH_VALUES):
            yield batch
            batch, size, values = [], 0, 0
        batch.append(text)
        size += len(text) + 1
        values += more
    if batch:
        yield batch


def _may_pass(verdict: dict[str, Any] | Refused | None) -> bool:
    return isinstance(verdict, Refused) and verdict.retryable


def _asked(error: ClientError) -> float | None:
    """Return the seconds after which the coordinator wants the request again."""
    return error.retry_after if isinstance(error, Refused) else None


def _pause_after(error: ClientError, pause: float) -> float:
    # Clients that were refused together come back one after the other.
    return max((_asked(error) or 0) * random.uniform(1, 1.25), random.uniform(pause / 2, pause))  # noqa: S311 - no secret


class _Reachability:
    """Logs when the coordinator cannot be reached and when it can be again, once for all requests of a client."""

    def __init__(self) -> None:
        self._is_lost = False

    def note(self, error: ClientError | None) -> None:
        if isinstance(error, Broken):  # a kept connection was closed, which says nothing
            return
        is_lost = isinstance(error, Unreachable)
        if is_lost is not self._is_lost:
            self._is_lost = is_lost
            log.warning("%s", error) if is_lost else log.info("The coordinator can be reached again")


class Caller:
    """Carries out flows with blocking requests. Safe to use from many threads. Keeps connections."""

    def __init__(self, connection: Connection) -> None:
        self._idle = Idle()
        self._client = Client(connection, self._idle)
        self._longest_wait = _longest_wait(connection)
        self._reachability = _Reachability()

    def longest_wait(self) -> int:
        return self._longest_wait

    def run(self, flow: Flow[_T]) -> _T:
        step: Callable[[], Request | Pause] = lambda: next(flow)  # noqa: E731
        while True:
            try:
                wanted = step()
            except StopIteration as stop:
                value: _T = stop.value
                return value
            try:
                response = self._done(wanted)
            except ClientError as error:
                self._reachability.note(error)
                step = _thrown(flow, error)
            else:
                step = _sent(flow, response)

    def _done(self, wanted: Request | Pause) -> Any:
        if isinstance(wanted, Pause):
            return time.sleep(wanted.seconds)
        response = self._client.call(wanted)
        self._reachability.note(None)
        return response

    def close(self) -> None:
        self._idle.close()


class AsyncCaller:
    """Carries out flows in one event loop, with at most `most` connections."""

    def __init__(self, connection: Connection, most: int) -> None:
        from coordinator_client.async_http import Connections

        self._connection = connection
        self._connections = Connections(connection.ca_file, most)
        self._reachability = _Reachability()

    def longest_wait(self) -> int:
        return CROWDED_WAIT_SECONDS if self._connections.are_all_taken else _longest_wait(self._connection)

    async def run(self, flow: Flow[_T]) -> _T:
        step: Callable[[], Request | Pause] = lambda: next(flow)  # noqa: E731
        while True:
            try:
                wanted = step()
            except StopIteration as stop:
                value: _T = stop.value
                return value
            try:
                response = await self._done(wanted)
            except ClientError as error:
                self._reachability.note(error)
                step = _thrown(flow, error)
            else:
                step = _sent(flow, response)

    async def _done(self, wanted: Request | Pause) -> Any:
        if isinstance(wanted, Pause):
            import asyncio

            return await asyncio.sleep(wanted.seconds)
        content = wanted.content
        try:
            received = await self._connections.exchange(
                wanted.method,
                self._connection.address(wanted),
                headers=self._connection.headers({"Content-Type": "application/json" if content else ""}),
                body=content,
                seconds=min(self._connection.seconds, wanted.seconds),
                place_seconds=wanted.seconds,
                most_bytes=MOST_BYTES,
            )
        except Unreachable as error:
            raise explained(error, wanted, self._connection.url) from None
        self._reachability.note(None)
        return document_of(received.status, received.headers, received.content)

    async def close(self) -> None:
        await self._connections.close()


def _longest_wait(connection: Connection) -> int:
    return max(int(min(WAIT_SECONDS, connection.seconds / 2)), 1)


def _sent(flow: Flow[_T], response: Any) -> Callable[[], Request | Pause]:
    return lambda: flow.send(response)


def _thrown(flow: Flow[_T], error: ClientError) -> Callable[[], Request | Pause]:
    return lambda: flow.throw(error)
