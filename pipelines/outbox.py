"""What a worker has to tell the coordinator, on its way out in groups.

The first answer after a pause goes at once. Those that follow within a few milliseconds travel together: the more
there were the last time, the longer, since a message costs the coordinator as much as many answers.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from executions.grouping import groups
from executions.protocol import Checkpoint, Outcome
from releases.identity import ReleaseIdentity

log = logging.getLogger(__name__)
LINGER_EACH = 0.002
LONGEST_LINGER = 0.03
MOST_ANSWERS = 500
AGAIN_AFTER = 1.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one command, or how far it has come; a failed one tells both."""

    identity: ReleaseIdentity
    outcome: Outcome | None = None
    checkpoint: Checkpoint | None = None

    @property
    def lease_token(self) -> uuid.UUID:
        told = self.outcome or self.checkpoint
        assert told is not None  # noqa: S101 - an answer tells something
        return told.lease_token

    @property
    def size(self) -> int:
        """About how many bytes it has on the wire."""
        texts = [*(self.outcome.output_payloads if self.outcome else [])]
        if self.outcome and self.outcome.suspension:
            texts += self.outcome.suspension.requests
        if self.checkpoint:
            texts += self.checkpoint.output_payloads
        return 500 + sum(map(len, texts))


class Outbox(threading.Thread):
    """Hands answers to `send`, in groups of one release, from a thread of its own; safe to use from many threads.

    Of the checkpoints of one lease only the newest is told, and none that its outcome has overtaken. `send` may raise:
    what it did not take is kept and offered again.
    """

    def __init__(self, send: Callable[[Sequence[Answer]], None]) -> None:
        super().__init__(name="outbox", daemon=True)
        self._send = send
        self._condition = threading.Condition()
        self._outcomes: list[Answer] = []
        self._checkpoints: dict[uuid.UUID, Answer] = {}
        self._closed = False

    def put(self, answer: Answer) -> None:
        with self._condition:
            if answer.outcome is not None:
                self._checkpoints.pop(answer.lease_token, None)
                self._outcomes.append(answer)
            else:
                self._checkpoints[answer.lease_token] = answer
            self._condition.notify()

    def close(self, seconds: float) -> bool:
        """Send what there is and stop; False where that was not done within `seconds`."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        not_before = 0.0
        while answers := self._next(not_before):
            by_release: dict[ReleaseIdentity, list[Answer]] = defaultdict(list)
            for answer in answers:
                by_release[answer.identity].append(answer)
            for told in by_release.values():
                for group in groups(told, [answer.size for answer in told], most=MOST_ANSWERS):
                    self._insist(group)
            not_before = time.monotonic() + min(LINGER_EACH * len(answers), LONGEST_LINGER)

    def _next(self, not_before: float) -> list[Answer]:
        """Everything there is to tell, once there is something and it is time; nothing once it is closed and empty."""
        with self._condition:
            while not (self._outcomes or self._checkpoints or self._closed):
                self._condition.wait()
            while not self._closed and (wait := not_before - time.monotonic()) > 0:
                self._condition.wait(wait)
            answers = [*self._checkpoints.values(), *self._outcomes]
            self._checkpoints, self._outcomes = {}, []
            return answers

    def _insist(self, group: list[Answer]) -> None:
        while True:
            try:
                self._send(group)
            except Exception as error:
                log.warning("The broker did not take %d answers: %s", len(group), type(error).__name__)
                time.sleep(AGAIN_AFTER)
            else:
                return
