"""Holds requests for an execution until there is something to say, without a thread or a slot (ADR 93).

`GET …/executions/{id}?wait=SECONDS`, and the same of `/result`, is held until the execution has ended. A stream of
`…/events` is held until there is an event that the client does not have.

A wait is two plain GETs. If the first one has nothing to say, the request is parked: its thread returns to granian
without a response. Once that changes, or the time is over, another thread repeats the request without `wait` and sends
its response. So rights, tenant and token are those of a plain GET, at both times.

The broker announces endings (`executions.state_machine.endings`). An announcement may be lost, so one statement looks
at all executions again every RECHECK_SECONDS, and at those with streams at each tick. One thread does this and one
receives announcements, and only while there are waits.
"""

import json
import logging
import os
import re
import signal
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final
from urllib.parse import parse_qs

from django.db import Error, close_old_connections, connections

from coordinator.request_middleware import REQUEST_ID
from coordinator.request_slots import Application
from executions.errors import ExecutionUnfinished
from executions.inspection.api import LONGEST_WAIT
from executions.lifecycle import queries
from executions.lifecycle.api import NO_NEWS, STREAM, last_event
from executions.models.states import TERMINAL
from executions.state_machine.endings import Endings
from foundation.api.problem import refusal
from foundation.broker_gate import REFUSALS
from foundation.errors import CoordinatorError, InvalidRequest, TooManyRequests, require_valid
from foundation.telemetry.metrics import Counter as Counted

log = logging.getLogger(__name__)
STREAM_SECONDS: Final = 20
"""How long a stream is held without an event, unless the client says otherwise."""
RECHECK_SECONDS: Final = 5.0
TICK_SECONDS: Final = 0.25
STREAMS_SHARE: Final = 20
"""The search for new events runs for at most one second in this number of seconds."""
LINGER_SECONDS: Final = 30.0
"""How long a process without waits still receives announcements, so that the next wait misses none."""
FIRST_RECHECKS: Final = (0.0, 0.05, 0.5)
"""When to look at the rows after a subscription has begun: control workers learn of it a moment later."""
ANSWERING_THREADS: Final = 4
RETRY_AFTER: Final = 5
PROTOCOL: Final = "coordinator.protocol"
"""The member of the WSGI environment that sends a response later. Only granian's processes have it."""
_PATH: Final = re.compile(
    r"/api/v1/tenants/([^/]+)/executions/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(/result|/events)?"
)
parked: Final = Counted("coordinator_waits_total", "Requests that waited for an execution.")
TERMINAL_VALUES: Final = {state.value for state in TERMINAL}


class Deferred(Exception):
    """Raised to granian in place of a response that another thread sends."""


@dataclass(slots=True, eq=False)
class _Wait:
    execution: uuid.UUID
    tenant: str
    environ: dict[str, Any]
    protocol: Any
    seen: int | None = None
    """The newest event that the client of a stream has."""
    deadline: float = 0.0  # 0 before it is parked
    over: bool = False


@dataclass(slots=True)
class _Response:
    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    content: bytes = b""


class Waits:
    """Wraps a WSGI application. Safe to use from many threads.

    At most `most` requests are parked. One tenant gets at most half of them.
    """

    def __init__(self, application: Application, *, most: int) -> None:
        self._application = application
        self._free = most
        self._of_tenant: Counter[str] = Counter()
        self._soon: Sequence[float] = ()
        """When to look at the rows in addition to every RECHECK_SECONDS."""
        self._over: dict[str, deque[_Wait]] = {}
        """The waits to answer, by tenant."""
        self._waits: dict[uuid.UUID, set[_Wait]] = {}
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(ANSWERING_THREADS, "answers")
        self._stopping: Callable[[], bool] = bool

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        protocol = environ.pop(PROTOCOL, None)
        streams = "HTTP_ACCEPT" in environ and STREAM in environ["HTTP_ACCEPT"]
        if protocol is None or not (streams or "wait=" in environ.get("QUERY_STRING", "")):
            return self._application(environ, start_response)
        path = _PATH.fullmatch(environ["PATH_INFO"])
        if path is None or environ["REQUEST_METHOD"] != "GET" or streams is not (path[3] == "/events"):
            return self._application(environ, start_response)
        wait = _Wait(uuid.UUID(path[2]), path[1], _repeatable(environ), protocol)
        return self._first(wait, environ["QUERY_STRING"], streams, start_response)

    def _first(self, wait: _Wait, query: str, streams: bool, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self._enter(wait)
        response = None
        try:
            seconds = _seconds(query, STREAM_SECONDS if streams else 0)
            response = _answer(self._application, dict(wait.environ))
            if seconds and not self._stopping() and _has_no_news(response, streams):
                if streams:
                    wait.seen = last_event(wait.environ.get("HTTP_LAST_EVENT_ID", "0"))
                # The log lines of both have the id that the client gets.
                wait.environ["HTTP_X_REQUEST_ID"] = dict(response.headers)[REQUEST_ID]
                self._park(wait, seconds)
                raise Deferred
        except CoordinatorError as error:
            refused = refusal(error)
            response = _Response(f"{error.status} {refused.reason_phrase}", list(refused.items()), refused.content)
        finally:
            if not wait.deadline:
                self._leave(wait)
        start_response(response.status, response.headers)
        return [response.content]

    # --- the waits ---

    def _enter(self, wait: _Wait) -> None:
        """Note endings of the execution from now on, before its row is read."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(name="waits", target=self._run, daemon=True)
                thread.start()
                self._thread = thread
            self._waits.setdefault(wait.execution, set()).add(wait)
        self._awake.set()

    def _leave(self, wait: _Wait) -> None:
        with self._lock:
            self._remove(wait)

    def _remove(self, wait: _Wait) -> None:
        others = self._waits[wait.execution]
        others.remove(wait)
        if not others:
            del self._waits[wait.execution]

    def _park(self, wait: _Wait, seconds: int) -> None:
        """Take a place. Raises `TooManyRequests`: a tenant gets no more places than it leaves free for others."""
        with self._lock:
            if self._of_tenant[wait.tenant] >= self._free:
                raise TooManyRequests("Too many requests wait for executions. Try again later.", retryAfter=RETRY_AFTER)
            self._free -= 1
            self._of_tenant[wait.tenant] += 1
            wait.deadline = time.monotonic() + seconds
            over = wait.over
        parked.add()
        if over:  # it ended after its row was read
            self._end([wait])

    def _end(self, waits: Sequence[_Wait], *, here: bool = False) -> None:
        """Answer those that are parked. The others learn that they need not park.

        With `here`, this thread answers the last one of the process, so that no other thread has to be woken for it.
        """
        for wait in waits:
            with self._lock:
                wait.over = True
                if not wait.deadline or wait not in self._waits.get(wait.execution, ()):
                    continue
                self._remove(wait)
                is_last = not self._waits
                self._over.setdefault(wait.tenant, deque()).append(wait)
            if here and is_last:
                self._respond()
            else:
                self._pool.submit(self._respond)

    def _respond(self) -> None:
        """Answer the wait that is next. Tenants take turns."""
        with self._lock:
            tenant = next(iter(self._over))
            line = self._over.pop(tenant)
            wait = line.popleft()
            if line:
                self._over[tenant] = line
        try:
            response = _answer(self._application, wait.environ)
        except Exception:
            log.exception("A wait could not be answered")
            response = _Response("500 Internal Server Error")
        with self._lock:
            self._free += 1
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]
        try:
            wait.protocol.response_bytes(int(response.status[:3]), response.headers, response.content)
        except Exception:
            log.exception("The answer to a wait could not be sent")

    # --- the thread ---

    def _run(self) -> None:
        while True:
            self._awake.wait()
            self._awake.clear()
            try:
                self._watch()
            except Exception:
                log.exception("The thread of the waits failed")
                time.sleep(TICK_SECONDS)
                self._awake.set()
            finally:
                connections.close_all()

    def _watch(self) -> None:
        """Serve the waits until there were none for LINGER_SECONDS.

        Another thread receives announcements: a broker that hangs blocks it for as long as BROKER_TIMEOUTS permit.
        """
        done = threading.Event()
        threading.Thread(name="endings", target=self._listen, args=[done], daemon=True).start()
        used = recheck_at = streams_at = time.monotonic()
        try:
            while time.monotonic() - used < LINGER_SECONDS:
                self._awake.clear()
                with self._lock:
                    waits = [wait for same in self._waits.values() for wait in same]
                now = time.monotonic()
                if waits:
                    used = now
                over = self._stopping()
                self._end([wait for wait in waits if wait.deadline and (over or wait.deadline <= now)])
                if now >= min([recheck_at, *self._soon]):
                    self._soon = self._soon[1:]
                    self._recheck()
                    recheck_at = now + RECHECK_SECONDS
                if now >= streams_at:
                    self._recheck_streams()
                    streams_at = now + STREAMS_SHARE * (time.monotonic() - now)
                next_at = min([now + TICK_SECONDS, recheck_at, *self._soon])
                done.wait(max(next_at - time.monotonic(), 0.0))
        finally:
            done.set()

    def _listen(self, done: threading.Event) -> None:
        """Receive announcements until `done`."""
        endings: Endings | None = None
        while not done.is_set():
            try:
                if endings is None:
                    endings = Endings()
                    self._soon = [time.monotonic() + pause for pause in FIRST_RECHECKS]
                endings.demand()
                ended = endings.received(seconds=TICK_SECONDS)
                self._end(
                    [wait for execution_id in ended for wait in list(self._waits.get(execution_id, ()))], here=True
                )
            except REFUSALS as error:
                log.warning("Announcements of ended executions cannot be received: %s", type(error).__name__)
                if endings is not None:
                    endings.close()
                endings = None
                done.wait(RECHECK_SECONDS)
        if endings is not None:
            endings.close()

    def _recheck(self) -> None:
        with self._lock:
            executions = list(self._waits)
        if not executions:
            return
        try:
            close_old_connections()
            for execution in queries.ended(executions):
                self._end(list(self._waits.get(execution, ())))
        except Error as error:
            log.warning("Executions that clients wait for cannot be read: %s", type(error).__name__)

    def _recheck_streams(self) -> None:
        """Answer the streams whose executions have new events."""
        with self._lock:
            parked = [wait for same in self._waits.values() for wait in same if wait.seen is not None]
        if not parked:
            return
        seen: dict[uuid.UUID, int] = {}
        for wait in parked:
            seen[wait.execution] = min(seen.get(wait.execution, wait.seen or 0), wait.seen or 0)
        try:
            close_old_connections()
            counts = queries.longer(seen)
        except Error as error:
            log.warning("Events that clients wait for cannot be read: %s", type(error).__name__)
            return
        self._end([wait for wait in parked if (wait.seen or 0) < counts.get(wait.execution, 0)])

    def end_at_signals(self) -> None:
        """End all waits after a signal to stop. Call this in the main thread, before signals are handled."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signalled = threading.Event()

        def is_stopping() -> bool:
            with suppress(BlockingIOError):
                if {signal.SIGTERM, signal.SIGINT} & set(os.read(reader, 64)):
                    signalled.set()
            return signalled.is_set()

        self._stopping = is_stopping


def defer_responses() -> None:
    """Let requests of this process's granian end without a response, and give the application what sends it later.

    Granian keeps the connection while the object that sends the response exists, and needs no thread for it.
    """
    from granian.server import mp

    module: Any = mp
    wrap = module._wsgi_call_wrap

    def wrapped(callback: Any, *arguments: Any) -> Callable[..., Any]:
        run = wrap(callback, *arguments)

        def call(protocol: Any, scope: dict[str, Any]) -> Any:
            scope[PROTOCOL] = protocol
            try:
                return run(protocol, scope)
            except Deferred:
                return None

        return call

    module._wsgi_call_wrap = wrapped


def _repeatable(environ: Mapping[str, Any]) -> dict[str, Any]:
    """Return the environment of the same request without its query and its body."""
    return {**environ, "QUERY_STRING": "", "CONTENT_LENGTH": "", "wsgi.input": BytesIO()}


def _has_no_news(response: _Response, streams: bool) -> bool:
    """Return True if the response may be held: the execution has not ended, or there is no new event."""
    if streams:
        return response.content == NO_NEWS
    if response.status.startswith("409"):
        return bool(json.loads(response.content)["code"] == ExecutionUnfinished.code)
    return response.status.startswith("200") and json.loads(response.content)["status"] not in TERMINAL_VALUES


def _seconds(query: str, default: int) -> int:
    [text, *more] = parse_qs(query, keep_blank_values=True).get("wait", [str(default)])
    is_valid = not more and re.fullmatch(r"[0-9]{1,2}", text, re.ASCII) and int(text) <= LONGEST_WAIT
    rule = f"must be a whole number of seconds from 0 to {LONGEST_WAIT}"
    require_valid(InvalidRequest, {"wait": "" if is_valid else rule})
    return int(text)


def _answer(application: Application, environ: dict[str, Any]) -> _Response:
    response = _Response()

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> None:
        response.status, response.headers = status, headers

    body: Any = application(environ, start)
    try:
        response.content = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return response
