"""Records whether a coordinator accepts this worker, refuses it, or does not answer.

A coordinator that refuses a heartbeat cannot sign its answer, because the two sides may not share a key. So a refusal
counts only while it can do no harm: it must quote a recent heartbeat, and the worker must never have received a signed
order. A worker that was accepted once ignores refusals.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from executions.protocol import Refusal, RefusalCode
from pipelines.failures import warn

REFUSALS: Final = 3
"""How many heartbeats in a row must be refused: one of several coordinators may be misconfigured."""
RECENT_SECONDS: Final = 60.0
QUIET_SECONDS: Final = 60.0
FIRST_QUIET_SECONDS: Final = 30.0
ADVICE: Final[dict[RefusalCode, str]] = {
    "SIGNATURE_INVALID": "this worker's key is not that of tenant {tenant!r}; check --tenant, and --key-file or "
    "PIPELINES_WORKER_KEY",
    "TENANT_UNKNOWN": "there is no tenant {tenant!r}; check --tenant",
    "TIMESTAMP_REFUSED": "the clocks of this host and the coordinator differ by more than two minutes; set them",
    "ENVELOPE_MALFORMED": "this worker's heartbeats are not understood; use the coordinator's version of this package",
}


class Acceptance:
    """Safe to use from many threads."""

    def __init__(self, tenant: str, *, patience: float = FIRST_QUIET_SECONDS) -> None:
        """The first warning is logged after `patience` seconds without an answer."""
        self._tenant = tenant
        self._lock = threading.Lock()
        self._asked: dict[str, float] = {}  # nonces of recent heartbeats, and when each was sent
        self._accepted = False
        self._refusals = 0
        self._reason: str | None = None
        self._warn_at = time.monotonic() + patience

    @property
    def refusal(self) -> str | None:
        """The reason why every coordinator will refuse this worker; None while one may accept it."""
        return self._reason

    def asked(self, nonce: str) -> None:
        """Record that a heartbeat was sent. Logs a warning from time to time while none has been answered."""
        now = time.monotonic()
        with self._lock:
            self._asked = {known: at for known, at in self._asked.items() if now - at <= RECENT_SECONDS}
            self._asked[nonce] = now
            silent = not self._accepted and not self._refusals and self._is_time(now)
        if silent:
            warn(
                "No coordinator has answered this worker's heartbeats yet; it takes no commands and keeps trying. "
                "Check that a control worker runs and uses this broker"
            )

    def accepted(self) -> None:
        """Record a signed order."""
        with self._lock:
            self._accepted, self._refusals, self._reason = True, 0, None

    def refused(self, refusal: Refusal) -> None:
        """Record a refusal. It is unsigned, so any client of the broker may have sent it."""
        now = time.monotonic()
        with self._lock:
            sent = self._asked.pop(refusal.nonce, None)
            if sent is None or now - sent > RECENT_SECONDS:
                return
            advice = ADVICE[refusal.code].format(tenant=self._tenant)
            if not self._accepted:
                self._refusals += 1
                if self._refusals >= REFUSALS:
                    self._reason = f"{refusal.code}: {advice}"
            elif not self._is_time(now):
                return
            accepted = self._accepted
        warn(
            "A coordinator refuses this worker: %s: %s%s",
            refusal.code,
            advice,
            ". The worker was accepted before and continues" if accepted else "",
        )

    def _is_time(self, now: float) -> bool:
        """Return True if the next warning is due, and schedule the one after it."""
        if now < self._warn_at:
            return False
        self._warn_at = now + QUIET_SECONDS
        return True
