"""Keeps requests with slow bodies, and the requests of one tenant, from blocking other requests.

Granian calls the application in a thread before the body has arrived, and a `read` cannot be interrupted. So a process
has many threads and few slots. A slot is the right to handle a request, together with a database connection. A request
leaves its slot while it waits for its body, while it pauses, and before a streamed response is sent. A client that
stops sending its body, or reading the response, occupies a thread, which costs little, until it closes the connection.
So the requests that wait at once are limited, in all and for each client address.

Groups of requests take turns for slots (ADR 67). A group is found before the body of its request is read, and without a
query: from what this process knows of earlier requests. A token or session that it does not know yet shares the group
of its client address, so no client gets more turns by inventing tokens. A request whose group has too long a line gets
429 before its body is read. Requests for health need no slot, because they do not use the database connection of their
thread.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import Any, Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections

from foundation.api.problem import refusal
from foundation.api.streaming import ARRIVED, PAUSE, PLACE
from foundation.errors import SlowRequestsBusy, TooManyRequests
from foundation.fair_slots import NO_GROUP, FairSlots, Group
from foundation.timed_cache import TimedCache
from tenancy.api.authentication import tenant_of
from tenancy.origin import client_address
from wire.probes import Liveness

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
READ_AHEAD_BYTES = 64 * 1024
HEALTH = "/health/"
liveness: Final = Liveness(longest_silence=settings.LIVENESS_SECONDS)
"""Whether this web process works: it hangs if the same requests occupy all slots."""
liveness.begin_wait()


class Slots:
    """A fixed number of slots, each with a database connection. The thread that takes a slot uses its connection.

    `reserve` further slots are for reserved groups only. `limits` are those of `FairSlots`.
    """

    def __init__(self, count: int, *, reserve: int = 0, **limits: Any) -> None:
        self._turns = FairSlots(count, reserve=reserve, **limits)
        self._idle: list[Any] = []
        self._taken_at = 0.0
        for _ in range(count + reserve):
            connection = connections.create_connection(DEFAULT_DB_ALIAS)
            connection.inc_thread_sharing()
            self._idle.append(connection)

    def require_room(self, group: Group) -> None:
        """Raise `TooManyRequests` if the group has too many waiting requests."""
        self._turns.require_room(group)

    def take(self, group: Group = NO_GROUP, *, bounded: bool = False) -> None:
        """Wait for a free slot. Check its connection, because Django checks connections only when a request begins.

        If `bounded`, raise `TooManyRequests` as `require_room` does.
        """
        self._turns.take(group, bounded=bounded)
        taken = self._idle.pop()
        self._taken_at = time.monotonic()
        taken.close_if_unusable_or_obsolete()
        connections[DEFAULT_DB_ALIAS] = taken

    @property
    def stalled_seconds(self) -> float:
        """Seconds since a request last got a slot, if all slots are taken; otherwise 0."""
        return 0.0 if self._idle else time.monotonic() - self._taken_at

    def leave(self, group: Group = NO_GROUP) -> None:
        """Return the slot and its connection."""
        connection = connections[DEFAULT_DB_ALIAS]
        del connections[DEFAULT_DB_ALIAS]
        self._idle.append(connection)
        self._turns.leave(group)

    @contextmanager
    def left(self, group: Group = NO_GROUP) -> Iterator[None]:
        """Leave the slot to other threads within the block, unless a transaction is open."""
        if connections[DEFAULT_DB_ALIAS].in_atomic_block:
            yield
            return
        self.leave(group)
        try:
            yield
        finally:
            self.take(group)


class WaitingPlaces:
    """A fixed number of places for requests that wait for their clients. A client gets at most a quarter of them."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._share = max(count // 4, 1)
        self._taken: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, client: str) -> None:
        """Occupy a place. Raises `SlowRequestsBusy` if none is free for this client address."""
        with self._lock:
            taken = self._taken.get(client, 0)
            if not self._free or taken >= self._share:
                raise SlowRequestsBusy("Too many requests are incomplete. Try again in a moment.")
            self._free -= 1
            self._taken[client] = taken + 1

    def leave(self, client: str) -> None:
        with self._lock:
            self._free += 1
            if others := self._taken.pop(client) - 1:
                self._taken[client] = others

    def hold(self, client: str) -> Callable[[], None]:
        """Occupy a place as `take` does. Return a function that leaves it."""
        self.take(client)
        return partial(self.leave, client)


class Body:
    """A request's body. Reading leaves the slot, and raises `SlowRequestsBusy` if too many requests wait already."""

    def __init__(self, stream: Any, slots: Slots, waiting: WaitingPlaces, client: str, group: Group) -> None:
        self._stream = stream
        self._slots = slots
        self._waiting = waiting
        self._client = client
        self._group = group

    def read(self, size: int | None = None) -> bytes:
        return self._wait(lambda: self._stream.read(size))

    def readline(self, size: int | None = None) -> bytes:
        return self._wait(lambda: self._stream.readline(size))

    def _wait(self, read: Callable[[], bytes]) -> bytes:
        self._waiting.take(self._client)
        try:
            with self._slots.left(self._group):
                return read()
        finally:
            self._waiting.leave(self._client)


def _body(environ: dict[str, Any], slots: Slots, waiting: WaitingPlaces, client: str, group: Group) -> Any:
    """Return the request's body as a file. A short body is read now, before the request takes a slot."""
    stream = environ["wsgi.input"]
    length = environ["CONTENT_LENGTH"]
    if length.isdecimal() and len(length) < 10 and int(length) <= READ_AHEAD_BYTES:
        try:
            waiting.take(client)
        except SlowRequestsBusy:
            pass  # the application reads the body and reports the error
        else:
            try:
                return BytesIO(stream.read(int(length)))
            finally:
                waiting.leave(client)
    return Body(stream, slots, waiting, client, group)


def _pause(slots: Slots, waiting: WaitingPlaces, client: str, group: Group, seconds: float) -> None:
    """Sleep without a slot. Raises `SlowRequestsBusy` if too many requests wait already."""
    waiting.take(client)
    try:
        with slots.left(group):
            time.sleep(seconds)
    finally:
        waiting.leave(client)


def _refused(error: TooManyRequests, start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Respond without Django, which would use more CPU time than a process has left when it is overloaded."""
    response = refusal(error)
    start_response("429 Too Many Requests", list(response.items()))
    return [response.content]


def in_slots(
    application: Application, *, slots: int, threads: int, reserve: int = 0, longest_wait: float = 60.0
) -> Application:
    """Wrap a WSGI application so that it handles at most `slots` requests at once, and `reserve` of reserved groups.

    The server has `threads` threads. At most half of them wait for slots. A request that would wait for a slot longer
    than `longest_wait` seconds gets 429.
    """
    shared = Slots(slots, reserve=reserve, most_waiting=max(threads // 2, 1), most_seconds=longest_wait)
    liveness.watch(lambda: shared.stalled_seconds)
    waiting = WaitingPlaces(max(threads - 2 * slots, 1))

    def respond(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith(HEALTH):
            return application(environ, start_response)
        environ[ARRIVED] = time.monotonic()
        group = group_of(environ)
        # They may not refer to the environment: only a collection of garbage would find it and the request.
        client = client_address(environ)
        environ[PLACE] = partial(waiting.hold, client)
        environ[PAUSE] = partial(_pause, shared, waiting, client, group)
        try:
            shared.require_room(group)
            if environ.get("CONTENT_LENGTH", "") not in {"", "0"}:
                environ["wsgi.input"] = _body(environ, shared, waiting, client, group)
            shared.take(group, bounded=True)
        except TooManyRequests as error:
            return _refused(error, start_response)
        try:
            return application(environ, start_response)
        finally:
            shared.leave(group)

    return respond


_sessions: TimedCache[str, str] = TimedCache(seconds=300, most=10_000)
"""The ids of the users who were logged in at a recent request, by session."""


def remember_session(key: str, user_id: str) -> None:
    """Give the requests of a user's session the group of the user, which may use the reserve."""
    if _sessions.get(key) != user_id:
        _sessions.set(key, user_id)


def group_of(environ: Mapping[str, Any]) -> Group:
    """Return the group of a WSGI request: its tenant, the user of its session, or its client address.

    Users of the admin may use the reserve.
    """
    authorization = environ.get("HTTP_AUTHORIZATION")
    if authorization and (tenant := tenant_of(authorization)):
        return Group(f"tenant {tenant}")
    session = _session_key(environ.get("HTTP_COOKIE", ""))
    if session and (user_id := _sessions.get(session)):
        return Group(f"user {user_id}", reserved=True)
    return Group(f"address {client_address(environ)}")


def _session_key(cookies: str) -> str | None:
    if settings.SESSION_COOKIE_NAME not in cookies:
        return None
    match = re.search(rf"(?:^|;)\s*{re.escape(settings.SESSION_COOKIE_NAME)}=([a-z0-9]{{32}})(?:;|$)", cookies)
    return match and match[1]
