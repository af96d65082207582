"""Follows the events of an execution, as a stream or, where the coordinator has none, by reading the list again."""

import json
import time
from typing import Any, Final

from coordinator_client.api import ENDED, MOST_BYTES, Client, Request, cursor_of, items_of, path, refused
from coordinator_client.errors import Unreachable

HELD_SECONDS: Final = 20
"""How long the coordinator holds a request for the next event."""
RUNNING_SECONDS: Final = 2
"""How long it holds one while a step runs, which may report progress in the meantime."""
LIST_SECONDS: Final = 1.0
"""How often the list is read again."""
NO_STREAM: Final = 406


class Events:
    """Reads each event of an execution once. `status` is that of the newest, or else empty.

    `have_ended` is true once the execution has ended and all its events are read.
    """

    def __init__(self, client: Client, execution_id: str) -> None:
        self.status = ""
        self.have_ended = False
        self._client = client
        self._execution = path("executions", execution_id)
        self._is_stream = True
        self._cursor: str | None = None
        self._last = 0

    def new(self, deadline: float) -> list[dict[str, Any]]:
        """Return the events since the last call.

        Wait for the first for HELD_SECONDS, or RUNNING_SECONDS while a step runs, or until the monotonic time.
        """
        left = max(deadline - time.monotonic(), 0)
        held = RUNNING_SECONDS if self.status == "RUNNING" else HELD_SECONDS
        events = self._streamed(int(min(left, held))) if self._is_stream else []
        if not self._is_stream:
            events = self._listed()
            if not events and not self.have_ended:
                time.sleep(min(left, LIST_SECONDS))
        if events:
            self.status = str(events[-1].get("status"))
        return events

    def progress(self) -> str:
        """Return the newest progress of its steps, such as `2 of 6: loading`; empty if they report none."""
        newest = self._client.get(self._execution).get("progress")
        if not isinstance(newest, dict):
            return ""
        done, total, message = newest.get("done"), newest.get("total"), newest.get("message")
        return f"{done}{'' if total is None else f' of {total}'}{f': {message}' if message else ''}"

    def _streamed(self, wait: int) -> list[dict[str, Any]]:
        request = Request("GET", f"{self._execution}/events", {"wait": wait})
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._last)}
        seconds = wait + self._client.connection.seconds
        with self._client.opened(request, headers, seconds=seconds) as response:
            self._is_stream = response.status != NO_STREAM
            self.have_ended = response.status == 204
            if self.have_ended or not self._is_stream:
                return []
            if response.status != 200:
                raise refused(response)
            lines = response.body(MOST_BYTES).splitlines()
        try:
            events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
        except (ValueError, RecursionError):
            raise Unreachable("the response is no stream of events; is this a coordinator?") from None
        return self._unread(events)

    def _listed(self) -> list[dict[str, Any]]:
        # The execution is read first: what it did before its end is then among the events.
        has_ended = self._client.get(self._execution).get("status") in ENDED
        events: list[dict[str, Any]] = []
        while True:
            page = self._client.get(f"{self._execution}/events", cursor=self._cursor, pageSize=500)
            events += self._unread(items_of(page))
            following = cursor_of(page)
            if following is None or following == self._cursor:
                self.have_ended = has_ended
                return events
            self._cursor = following

    def _unread(self, events: list[Any]) -> list[dict[str, Any]]:
        lines = []
        for event in events:
            sequence = event.get("sequence") if isinstance(event, dict) else None
            if isinstance(sequence, int) and sequence > self._last:
                self._last = sequence
                lines.append(event)
        return lines
