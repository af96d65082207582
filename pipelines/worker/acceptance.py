"""Records whether a coordinator accepts this worker, refuses it, or does not answer.

A coordinator that refuses a heartbeat cannot sign its notice, because the two sides may not share a key. So a refusal
counts only if it quotes a recent heartbeat, and its effect is small. A worker that has never received a signed
instruction exits. Other workers ignore a refusal, unless their key is refused. Such a worker cannot read commands, so
it accepts none until its next signed instruction, which the next accepted heartbeat causes.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from pipelines.failures import warn
from wire.messages.sealing import Refusal, RefusalCode

REFUSALS: Final = 3
"""How many heartbeats in a row must be refused, because one of several coordinators may be misconfigured."""
RECENT_SECONDS: Final = 60.0
"""A refusal of an older heartbeat is ignored."""
QUIET_SECONDS: Final = 60.0
"""The time between two warnings."""
FIRST_QUIET_SECONDS: Final = 30.0
"""The time without a signed instruction or a refusal before the first warning."""
ADVICE: Final[dict[RefusalCode, str]] = {
    "KEY_NOT_ACTIVE": "this worker's key is not an active key of tenant {tenant!r}: it was revoked, or belongs to "
    "another tenant or coordinator; check --tenant, and --key-file or PIPELINES_WORKER_KEY",
    "SIGNATURE_INVALID": "this worker's messages are changed in transit; check who else can write to the broker",
    "TENANT_UNKNOWN": "there is no tenant {tenant!r}; check --tenant",
    "TIMESTAMP_REFUSED": "the clocks of this host and the coordinator differ by more than two minutes; set them",
    "WORKER_LIMIT_REACHED": "tenant {tenant!r} has reached the limit of workers; stop other workers, or ask an "
    "operator to raise MAX_TENANT_WORKERS",
    "ENVELOPE_MALFORMED": "this worker's heartbeats are not understood; use the coordinator's version of this package",
}


class Acceptance:
    """Records heartbeats and the coordinator's reactions to them. Safe to use from many threads."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant
        self._lock = threading.Lock()
        self._recent: dict[str, tuple[float, int]] = {}  # time of sending and number of recent heartbeats, by nonce
        self._heartbeats = 0
        self._last_refused = 0
        self._code: RefusalCode | None = None
        self._accepted = False
        self._refusals = 0
        self._reason: str | None = None
        self._warn_at = time.monotonic() + FIRST_QUIET_SECONDS

    @property
    def refusal(self) -> str | None:
        """The reason why every coordinator will refuse this worker; None while one may accept it."""
        return self._reason

    @property
    def is_locked_out(self) -> bool:
        """True if this worker's key was refused REFUSALS times in a row and no signed instruction has arrived since."""
        return self._refusals >= REFUSALS and self._code == "KEY_NOT_ACTIVE"

    def sent(self, nonce: str) -> None:
        """Record that a heartbeat was sent. Logs a warning at times, until a coordinator reacts to one."""
        now = time.monotonic()
        with self._lock:
            self._heartbeats += 1
            self._recent = {known: sent for known, sent in self._recent.items() if now - sent[0] <= RECENT_SECONDS}
            self._recent[nonce] = now, self._heartbeats
            silent = not self._accepted and not self._refusals and self._is_time(now)
        if silent:
            warn(
                "No coordinator has answered this worker's heartbeats yet; it accepts no commands and keeps trying. "
                "Check that a control worker runs and uses this broker"
            )

    def accepted(self) -> None:
        """Record a signed instruction."""
        with self._lock:
            self._accepted, self._refusals, self._reason = True, 0, None

    def refused(self, refusal: Refusal) -> None:
        """Record a refusal. It is unsigned, so any client of the broker may have sent it."""
        now = time.monotonic()
        with self._lock:
            sent, number = self._recent.pop(refusal.nonce, (float("-inf"), 0))
            if now - sent > RECENT_SECONDS:
                return
            was_locked_out = self.is_locked_out
            self._refusals = self._refusals + 1 if number == self._last_refused + 1 else 1
            self._last_refused, self._code = number, refusal.code
            advice = ADVICE[refusal.code].format(tenant=self._tenant)
            if not self._accepted:
                effect = ""
                if self._refusals >= REFUSALS:
                    self._reason = f"{refusal.code}: {advice}"
            elif self.is_locked_out and not was_locked_out:
                effect = ". It accepts no commands until a coordinator accepts it again"
            elif self._is_time(now):
                effect = ". The worker was accepted before and continues"
            else:
                return
        warn("A coordinator refuses this worker: %s: %s%s", refusal.code, advice, effect)

    def _is_time(self, now: float) -> bool:
        """Return True if the next warning is due, and schedule the one after it."""
        if now < self._warn_at:
            return False
        self._warn_at = now + QUIET_SECONDS
        return True
