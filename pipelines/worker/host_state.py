"""What a host knows: the leases that it holds, how long transitions take, and whether a coordinator accepts it."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from pipelines.failures import warn
from pipelines.step_reports import StepReports
from wire.messages.celery_messages import MOST_LEASES, Command, HeldLease
from wire.messages.sealing import Refusal, RefusalCode
from wire.messages.task_messages import LONGEST_SECONDS, MOST_COMMANDS

REMEMBERED = 50_000
"""How many lease tokens are kept to detect repeated commands."""


def _nothing() -> None:
    pass


@dataclass(slots=True)
class Lease:
    """One lease. ``since`` is when its transition began, or when its command arrived if no thread has begun it.

    A command that no thread has begun by ``begin_by`` is dropped. Both are times of the monotonic clock. ``progressed``
    is called when a step has reported progress or details that may be sent.
    """

    execution_id: uuid.UUID
    since: float
    begin_by: float
    transition_key: str = ""
    running: bool = False
    ended: bool = False  # its outcome waits to be sent
    lost: bool = False
    reports: StepReports | None = None  # None until a step reports something
    progressed: Callable[[], None] = _nothing

    def notify(self) -> None:
        """Pass on that a step has reported something, unless its outcome no longer counts."""
        if self.is_active():
            self.progressed()

    def is_overdue(self, now: float) -> bool:
        return not self.running and now > self.begin_by

    def is_active(self) -> bool:
        """Return True if a thread runs its transition, and the outcome would count."""
        return self.running and not self.ended and not self.lost

    def is_lost(self) -> bool:
        """Return True if the lease is lost. Takes no lock, because steps may call it often."""
        return self.lost


@dataclass(frozen=True, slots=True)
class LeasesInUse:
    """The leases in use: of running transitions, and of commands that wait for a thread.

    Each list has at most MOST_LEASES entries, the oldest, because a heartbeat cannot name more. The leases of the
    others expire. ``running`` includes transitions that have ended and whose outcomes wait to be sent. ``active`` is
    the number of threads that run a transition under its lease, ``abandoned`` that of threads whose lease is lost.
    ``reporting`` has the leases, by their tokens, of transitions whose steps have reported something.
    """

    running: list[HeldLease]
    waiting: list[HeldLease]
    active: int
    abandoned: int
    reporting: dict[uuid.UUID, Lease]


class HeldLeases:
    """Safe to use from many threads. A lost execution may return, so one execution may be held under two leases.

    A command that waits for a thread is held only until its lease expires, because the threads may be busy permanently.
    Then it is dropped, and another worker gets the execution. Also measures how long the transitions take.
    """

    def __init__(self, progressed: Callable[[], None] = _nothing) -> None:
        self._progressed = progressed
        self._lock = threading.Lock()
        self._held: dict[uuid.UUID, Lease] = {}  # by lease token
        self._known: OrderedDict[uuid.UUID, None] = OrderedDict()
        self._pace = Pace()

    def take(self, commands: Iterable[Command]) -> list[Command]:
        """Hold the leases of those commands that are new, and return these commands.

        A command with a known lease token came in a message that was delivered twice, or replayed. It is dropped.
        """
        new, repeated = [], []
        now = time.monotonic()
        with self._lock:
            for command in commands:
                if command.lease_token in self._known:
                    repeated.append(command)
                    continue
                self._known[command.lease_token] = None
                begin_by = now + command.lease_seconds
                lease = Lease(command.execution_id, now, begin_by, command.transition_key, progressed=self._progressed)
                self._held[command.lease_token] = lease
                new.append(command)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        for command in repeated:
            warn("Dropped a repeated command for execution %s", command.execution_id)
        return new

    def begin(self, token: uuid.UUID) -> Lease | None:
        """Record that a thread begins the transition. Return its lease; None if it is not held or has expired."""
        now = time.monotonic()
        with self._lock:
            lease = self._held.get(token)
            if lease is None or lease.is_overdue(now):
                return None
            lease.running, lease.since = True, now
            return lease

    def lose(self, tokens: Iterable[uuid.UUID]) -> None:
        """Record that these leases are lost. Commands that no thread has begun are dropped at once."""
        lost = []
        with self._lock:
            for token in tokens:
                lease = self._held.get(token)
                if lease is None:
                    continue  # it has ended already
                lost.append(lease)
                if lease.running:
                    lease.lost = True
                else:
                    del self._held[token]
        for lease in lost:
            warn("The lease of execution %s is lost: its outcome does not count", lease.execution_id)

    def end(self, lease: Lease) -> bool:
        """Record that the thread has ended the transition. Return True if a heartbeat should report that at once.

        If the lease is lost, the coordinator counts the thread as abandoned.
        """
        now = time.monotonic()
        with self._lock:
            lease.ended = True
            if lease.lost:
                return True
            self._pace.ended(lease.since, now)
            return self._pace.is_notable(now)

    def seconds_per_transition(self) -> float | None:
        """Return how long a transition takes, and record that it is reported. None until it is known."""
        now = time.monotonic()
        with self._lock:
            began = [lease.since for lease in self._held.values() if lease.is_active()]
            return self._pace.report(began, now)

    def drop(self, tokens: Iterable[uuid.UUID]) -> None:
        with self._lock:
            for token in tokens:
                self._held.pop(token, None)

    def in_use(self) -> LeasesInUse:
        """Return the leases in use now. Drops the commands whose leases expired before a thread began them."""
        now = time.monotonic()
        with self._lock:
            overdue = {token: lease for token, lease in self._held.items() if lease.is_overdue(now)}
            for token in overdue:
                del self._held[token]
            held = list(self._held.items())
        for lease in overdue.values():
            warn(
                "Dropped the command for execution %s: no thread was free before its lease expired", lease.execution_id
            )
        counting = [(token, lease) for token, lease in held if not lease.lost]
        running = [_held(token, lease, now) for token, lease in counting if lease.running]
        waiting = [_held(token, lease, now) for token, lease in counting if not lease.running]
        active = sum(lease.is_active() for _, lease in held)
        abandoned = sum(lease.lost and not lease.ended for _, lease in held)
        reporting = {token: lease for token, lease in held if lease.reports is not None and lease.is_active()}
        return LeasesInUse(running[:MOST_LEASES], waiting[:MOST_LEASES], active, abandoned, reporting)


def _held(token: uuid.UUID, lease: Lease, now: float) -> HeldLease:
    return HeldLease(execution_id=lease.execution_id, lease_token=token, seconds=max(now - lease.since, 0.0))


NEWEST_WEIGHT = 0.2
"""The weight of the newest transition in the moving average."""
NOTABLE_FACTOR = 2.0
"""If the average changes by this factor, a heartbeat is sent early."""
LEAST_NOTABLE_SECONDS = LONGEST_SECONDS / MOST_COMMANDS
"""All shorter transitions count as equally long: MOST_COMMANDS of them are at most LONGEST_SECONDS of work."""
QUIET_SECONDS = 0.2
"""The shortest time between two such heartbeats."""


class Pace:
    """The seconds that a transition takes: a moving average, or the time of a running one that already took longer.

    A running transition stops counting once a later one has ended, because it is an exception and may never end.
    Callers leave out those whose lease is lost. All times are of the monotonic clock. Used under a lock.
    """

    def __init__(self) -> None:
        self._average: float | None = None
        self._overtaken = 0.0  # running transitions that began before this do not count
        self._last_reported: float | None = None
        self._reported_at = 0.0

    def ended(self, began: float, now: float) -> None:
        """Count a transition that ends now."""
        self._overtaken = max(self._overtaken, began)
        seconds = now - began
        before = seconds if self._average is None else self._average
        self._average = before + NEWEST_WEIGHT * (seconds - before)

    def report(self, running: Iterable[float], now: float) -> float | None:
        """Return the seconds per transition and record that they are reported. `running` says when each one began."""
        oldest = now - min((began for began in running if began > self._overtaken), default=now)
        seconds = self._average
        if seconds is not None or oldest > QUIET_SECONDS:
            seconds = max(seconds or 0.0, oldest)
        self._last_reported, self._reported_at = seconds, now
        return seconds

    def is_notable(self, now: float) -> bool:
        """Return True if the average has changed notably since it was reported, and that was not just before."""
        if self._average is None or now - self._reported_at < QUIET_SECONDS:
            return False
        if self._last_reported is None:
            return True
        last, average = (max(seconds, LEAST_NOTABLE_SECONDS) for seconds in (self._last_reported, self._average))
        return not last / NOTABLE_FACTOR <= average <= last * NOTABLE_FACTOR


REFUSALS: Final = 3
"""How many heartbeats in a row must be refused, because one of several coordinators may be misconfigured."""
RECENT_SECONDS: Final = 60.0
"""A refusal of an older heartbeat is ignored."""
WARNING_SECONDS: Final = 60.0
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
NO_WORK: Final = {
    "RELEASE_UNKNOWN": "the coordinator does not know release {identity.release_version} of {identity.pipeline_id} "
    "with contract {identity.contract_version} in tenant {identity.tenant_id}; publish it with pipelines publish. The "
    "worker waits, and gets work when the release is registered",
    "OTHER_ARTIFACT": "release {identity.release_version} of {identity.pipeline_id} is registered with another "
    "artifact than the one here; host that release, or give this code a new version with pipelines release "
    "--release-version",
    "UNVERIFIED_CODE": "it hosts code from a folder, which the policy of {identity.pipeline_id} refuses; host the "
    "artifact of the release, or let the policy allow unverified workers",
}
"""What to do about the reasons for which a worker gets no work. It keeps waiting."""


class Acceptance:
    """Records whether a coordinator accepts this worker, refuses it, or does not answer. Safe to use from many threads.

    A coordinator that refuses a heartbeat cannot sign its notice, because the two sides may not share a key. So a
    refusal counts only if it quotes a recent heartbeat, and its effect is small. A worker that has never received a
    signed instruction exits. Other workers ignore a refusal, unless their key is refused. Such a worker cannot read
    commands, so it accepts none until its next signed instruction, which the next accepted heartbeat causes.
    """

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
        self._warn_at = now + WARNING_SECONDS
        return True
