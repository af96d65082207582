"""Sends the reports of a worker to the coordinator, in groups.

The first report after a pause is sent at once. Reports that follow within a few milliseconds are sent together. The
larger the last group was, the longer the next one is collected, because one message costs the coordinator as much as
many reports.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.failures import warn, warn_of
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, Outcome
from wire.messages.limits import groups

PAUSE_PER_REPORT = 0.002
"""Seconds to wait before the next group, for each report of the last one."""
LONGEST_PAUSE = 0.03
"""In seconds."""
MOST_REPORTS = 500
"""How many reports one message carries."""
RETRY_SECONDS = 1.0
MOST_TRIES = 5


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one command, or its newest checkpoint. A failed command has both."""

    identity: ReleaseIdentity
    outcome: Outcome | None = None
    checkpoint: Checkpoint | None = None

    @property
    def lease_token(self) -> uuid.UUID:
        reported = self.outcome or self.checkpoint
        assert reported is not None  # noqa: S101 - a report has one of them
        return reported.lease_token

    @property
    def size(self) -> int:
        """The approximate number of bytes in a message."""
        texts = [*(self.outcome.output_payloads if self.outcome else [])]
        if self.outcome and self.outcome.suspension:
            texts += self.outcome.suspension.requests
        if self.outcome and self.outcome.failure:
            texts.append(self.outcome.failure.traceback)
        if self.checkpoint:
            texts += self.checkpoint.output_payloads
        return 500 + sum(map(len, texts))


class Outbox(threading.Thread):
    """Passes reports to `send`, in groups of one release, from a separate thread. Safe to use from many threads.

    Only the newest checkpoint of a lease is sent, and none after its outcome. OSError from `send` means that the broker
    is unreachable, so the group is sent again later. Any other exception is a bug: a group that fails with it
    MOST_TRIES times is dropped, so that it does not block the others. `done` is called with the reports that were sent
    or dropped.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Report]], None],
        done: Callable[[Sequence[Report]], None] = lambda _: None,
        *,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        super().__init__(name="outbox", daemon=True)
        self._send = send
        self._done = done
        self._retry_seconds = retry_seconds
        self._condition = threading.Condition()
        self._outcomes: list[Report] = []
        self._checkpoints: dict[uuid.UUID, Report] = {}
        self._closed = False
        self._not_before = 0.0

    def put(self, report: Report) -> None:
        """Add a report. It replaces earlier checkpoints of its lease."""
        with self._condition:
            if report.outcome is not None:
                self._checkpoints.pop(report.lease_token, None)
                self._outcomes.append(report)
            else:
                self._checkpoints[report.lease_token] = report
            self._condition.notify()

    def close(self, seconds: float) -> bool:
        """Send the remaining reports and stop. Return False if that took longer than `seconds`."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        while not (self._closed and self._is_empty()):
            try:
                self._send_next()
            except BaseException as error:
                warn_of(error, "The outbox failed, and continues")

    def _is_empty(self) -> bool:
        with self._condition:
            return not (self._outcomes or self._checkpoints)

    def _send_next(self) -> None:
        reports = self._next()
        try:
            by_release: dict[ReleaseIdentity, list[Report]] = defaultdict(list)
            for report in reports:
                by_release[report.identity].append(report)
            for same_release in by_release.values():
                for group in groups(same_release, [report.size for report in same_release], most=MOST_REPORTS):
                    self._send_group(group)
        finally:
            self._done(reports)
        self._not_before = time.monotonic() + min(PAUSE_PER_REPORT * len(reports), LONGEST_PAUSE)

    def _next(self) -> list[Report]:
        """Wait until there are reports and the pause is over, then take all. Return none once closed and empty."""
        with self._condition:
            while not (self._outcomes or self._checkpoints or self._closed):
                self._condition.wait()
            while not self._closed and (wait := self._not_before - time.monotonic()) > 0:
                self._condition.wait(wait)
            reports = [*self._checkpoints.values(), *self._outcomes]
            self._checkpoints, self._outcomes = {}, []
            return reports

    def _send_group(self, group: list[Report]) -> None:
        tries = 0
        while tries < MOST_TRIES:
            try:
                self._send(group)
            except OSError as error:
                warn("The broker did not accept %d reports: %s", len(group), type(error).__name__)
            except BaseException as error:
                tries += 1
                warn_of(error, "%d reports could not be sent", len(group))
            else:
                return
            time.sleep(self._retry_seconds)
