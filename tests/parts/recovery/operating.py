import contextlib
import threading
from collections import Counter
from random import Random

from tests.parts.recovery.retrying_client import Refused, RetryingClient

PAUSE_SECONDS = (0.1, 1.0)
BETWEEN_SECONDS = (0.3, 1.2)
RATE_PER_MINUTE = 6000


class Operators(threading.Thread):
    """Acts until `stop`. `acts` counts what was done, and `cancelled` holds the ids of the executions that ended so."""

    def __init__(self, client: RetryingClient, rng: Random, pipeline_id: str) -> None:
        super().__init__(name="operators", daemon=True)
        self.acts: Counter[str] = Counter()
        self.cancelled: set[str] = set()
        self.error: BaseException | None = None
        self._client = client
        self._rng = rng
        self._pipeline_id = pipeline_id
        self._unwanted: list[str] = []
        self._stopping = threading.Event()

    def will_cancel(self, execution_id: str) -> None:
        """Cancel this execution soon, unless it ends first."""
        self._unwanted.append(execution_id)

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.uniform(*BETWEEN_SECONDS)):
                self._rng.choice([self._pause, self._cancel, self._cancel_together, self._redrive])()
        except BaseException as error:
            self.error = error

    def stop(self) -> None:
        """Stop acting. Raises the error that ended the thread early, if any."""
        self._stopping.set()
        self.join()
        if self.error is not None:
            raise self.error

    def _pause(self) -> None:
        path = f"pipelines/{self._pipeline_id}"
        refuses = self._rng.random() < 0.5
        self._client.call("POST", f"{path}/pause", {"reason": "trouble", "refuseSubmissions": refuses})
        self._stopping.wait(self._rng.uniform(*PAUSE_SECONDS))
        with contextlib.suppress(Refused):  # an earlier request, whose response was lost, may have ended the pause
            self._client.call("POST", f"{path}/resume", {"reason": "no trouble"})
        self.acts["pause that refuses submissions" if refuses else "pause"] += 1

    def _cancel(self) -> None:
        if not self._unwanted:
            return
        execution_id = self._unwanted.pop()
        with contextlib.suppress(Refused):  # it has ended
            self._client.call("POST", f"executions/{execution_id}/cancel", {"reason": "not wanted"})
            self.cancelled.add(execution_id)
            self.acts["cancel"] += 1

    def _cancel_together(self) -> None:
        unwanted, self._unwanted[:] = list(self._unwanted), []
        if unwanted:
            self._start_campaign("cancel", executionIds=unwanted)

    def _redrive(self) -> None:
        self._start_campaign("redrive", filters={"pipelineId": self._pipeline_id})

    def _start_campaign(self, kind: str, **selection: object) -> None:
        body = {"kind": kind, **selection, "reason": "campaign", "ratePerMinute": RATE_PER_MINUTE}
        with contextlib.suppress(Refused):  # it selects nothing
            self._client.call("POST", "campaigns", body)
            self.acts[f"campaign: {kind}"] += 1
