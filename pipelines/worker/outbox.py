"""What a worker has to tell the coordinator, on its way out in groups.

The first answer after a pause goes at once. Those that follow within a few milliseconds travel together: the more
there were the last time, the longer, since a message costs the coordinator as much as many answers.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.failures import traceback_of, warn
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, Outcome
from wire.messages.grouping import groups

LINGER_EACH = 0.002
LONGEST_LINGER = 0.03
MOST_ANSWERS = 500
AGAIN_AFTER = 1.0
MOST_TRIES = 5


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
        if self.outcome and self.outcome.failure:
            texts.append(self.outcome.failure.traceback)
        if self.checkpoint:
            texts += self.checkpoint.output_payloads
        return 500 + sum(map(len, texts))


class Outbox(threading.Thread):
    """Passes answers to `send`, in groups of one release, from a separate thread. Safe to use from many threads.

    Only the newest checkpoint of a lease is sent, and none after its outcome. OSError from `send` means that the broker
    is unreachable, so the group is sent again later. Any other exception is a bug: a group that fails with it
    MOST_TRIES times is dropped, so that it does not block the others. `done` is called with the answers that were sent
    or dropped.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Answer]], None],
        done: Callable[[Sequence[Answer]], None] = lambda _: None,
        *,
        again_after: float = AGAIN_AFTER,
    ) -> None:
        super().__init__(name="outbox", daemon=True)
        self._send = send
        self._done = done
        self._again_after = again_after
        self._condition = threading.Condition()
        self._outcomes: list[Answer] = []
        self._checkpoints: dict[uuid.UUID, Answer] = {}
        self._closed = False
        self._not_before = 0.0

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
        while not (self._closed and self._is_empty()):
            try:
                self._send_next()
            except BaseException as error:
                warn("The outbox failed, and continues:\n%s", traceback_of(error))

    def _is_empty(self) -> bool:
        with self._condition:
            return not (self._outcomes or self._checkpoints)

    def _send_next(self) -> None:
        answers = self._next()
        try:
            by_release: dict[ReleaseIdentity, list[Answer]] = defaultdict(list)
            for answer in answers:
                by_release[answer.identity].append(answer)
            for told in by_release.values():
                for group in groups(told, [answer.size for answer in told], most=MOST_ANSWERS):
                    self._insist(group)
        finally:
            self._done(answers)
        self._not_before = time.monotonic() + min(LINGER_EACH * len(answers), LONGEST_LINGER)

    def _next(self) -> list[Answer]:
        """Everything there is to tell, once there is something and it is time; nothing once it is closed and empty."""
        with self._condition:
            while not (self._outcomes or self._checkpoints or self._closed):
                self._condition.wait()
            while not self._closed and (wait := self._not_before - time.monotonic()) > 0:
                self._condition.wait(wait)
            answers = [*self._checkpoints.values(), *self._outcomes]
            self._checkpoints, self._outcomes = {}, []
            return answers

    def _insist(self, group: list[Answer]) -> None:
        tries = 0
        while tries < MOST_TRIES:
            try:
                self._send(group)
            except OSError as error:
                warn("The broker did not take %d answers: %s", len(group), type(error).__name__)
            except BaseException as error:
                tries += 1
                warn("%d answers could not be sent:\n%s", len(group), traceback_of(error))
            else:
                return
            time.sleep(self._again_after)
