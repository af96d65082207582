import contextlib
import threading
import time
from collections import Counter
from collections.abc import Collection
from random import Random

from coordinator.celery import QUEUES
from tests.parts.recovery.cluster import LEASE_SECONDS
from tests.parts.recovery.faulty_cluster import FaultyCluster
from tests.parts.recovery.replicated import restart_as_primary
from wire.messages.queues import OUTCOME_QUEUE

# The relative frequency of each strike, after each has occurred once.
WEIGHTS = {
    ("kill", "worker-"): 30,
    ("kill", "control-"): 28,
    ("kill", "web"): 10,
    ("kill", "clock"): 6,
    ("freeze", "worker-"): 8,
    ("freeze", "control-"): 4,
    ("empty", "broker"): 4,
    ("kill", "PostgreSQL"): 4,
    ("silence", "PostgreSQL"): 3,
    ("silence", "broker"): 2,
    ("forget connections to", "PostgreSQL"): 3,
    ("forget connections to", "broker"): 2,
    ("make read-only", "PostgreSQL"): 3,
    ("delay", "outcomes"): 4,
    ("spoil reads of", "store"): 3,
    ("set back", "clock"): 3,
}
SILENT_SECONDS = (1.0, 3 * LEASE_SECONDS)
SET_BACK_SECONDS = (30.0, 500.0)
"""Messages of a clock that is ten minutes late are dropped."""
SPOILED_READS = 4
FAILOVER = (4, 16)
"""The number of strikes before the only failover."""
FORMER_SECONDS = (6.0, 12.0)
"""How long the former primary accepts connections after the failover."""
ROLES = ("worker-v1", "worker-v2", "worker-h1", "control-", "web", "clock")
PAUSE_SECONDS = (0.2, 0.7)
WAIT_PROBABILITY = 0.85
LONGEST_WAIT_SECONDS = 10.0


class Chaos(threading.Thread):
    """Strikes until `stop`. `strikes` counts the strikes of each kind.

    Most strikes wait until each role has a ready process. Otherwise the machine would spend its time on starting
    processes instead of on executions. A process that ends without a strike is restarted, as a supervisor would do. Its
    log is added to `unexpected_ends` unless its exit status is one of `expected_statuses`.
    """

    def __init__(self, cluster: FaultyCluster, rng: Random, *, expected_statuses: Collection[int]) -> None:
        super().__init__(name="chaos", daemon=True)
        self.strikes: Counter[str] = Counter()
        self.kills = 0
        self.unexpected_ends: list[str] = []
        self.error: BaseException | None = None
        self._cluster = cluster
        self._rng = rng
        self._expected_statuses = expected_statuses
        self._stopping = threading.Event()
        self._frozen: list[threading.Thread] = []
        self._before_failover = rng.randint(*FAILOVER)
        self._first = rng.sample(list(WEIGHTS), len(WEIGHTS))

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.uniform(*PAUSE_SECONDS)):
                self.restart_ended()
                self._wait_for_every_role()
                self._before_failover -= 1
                if self._before_failover == 0:
                    self._fail_over()
                else:
                    self._strike()
        except BaseException as error:
            self.error = error

    @property
    def is_complete(self) -> bool:
        return not self._first and self._before_failover <= 0

    def stop(self) -> None:
        """Stop striking and restart ended members. Raises the error that ended the thread early, if any."""
        self._stopping.set()
        self.join()
        for thread in self._frozen:
            thread.join()
        self.restart_ended()
        if self.error is not None:
            raise self.error

    def restart_ended(self) -> None:
        """Restart the processes that ended without a strike."""
        for name, log in self._cluster.ended_members().items():
            status = self._cluster.process(name).status
            if status in self._expected_statuses:
                self.strikes["ended by a step"] += 1
            else:
                self.unexpected_ends.append(f"{name} ended without a strike, with status {status}:\n{log}")
            self._cluster.restart(name)

    def _wait_for_every_role(self) -> None:
        deadline = time.monotonic() + (LONGEST_WAIT_SECONDS if self._rng.random() < WAIT_PROBABILITY else 0)
        while time.monotonic() < deadline and not self._stopping.is_set() and not self._has_every_role():
            self.restart_ended()
            time.sleep(0.05)

    def _has_every_role(self) -> bool:
        ready = [name for name in self._cluster.members if self._cluster.is_ready(name)]
        return all(any(name.startswith(role) for name in ready) for role in ROLES)

    def _strike(self) -> None:
        [(act, target)] = [self._first.pop()] if self._first else self._rng.choices([*WEIGHTS], [*WEIGHTS.values()])
        match act, target:
            case "empty", _:
                self._cluster.valkey.kill()
                self._cluster.valkey.remove_data()
                self._stopping.wait(self._rng.uniform(0, 1.5))
                self._cluster.valkey.start()
            case "kill", "PostgreSQL":
                self._cluster.postgres.kill()
                self._stopping.wait(self._rng.uniform(0, 1.0))
                self._cluster.postgres.start()
            case "silence", _:
                with self._cluster.silent(target):
                    self._wait(*SILENT_SECONDS)
            case "forget connections to", _:
                self._cluster.forget_connections(target)
            case "make read-only", _:
                with self._cluster.read_only():
                    self._wait(*SILENT_SECONDS)
            case "delay", _:
                self._delay_outcomes()
            case "spoil reads of", _:
                self.strikes["spoiled read"] += self._cluster.spoil_reads(SPOILED_READS)
            case "set back", _:
                with self._cluster.clock_set_back(self._rng.uniform(*SET_BACK_SECONDS)):
                    self._wait(LEASE_SECONDS, 3 * LEASE_SECONDS)
            case "freeze", _:
                self._freeze(self._member(target))
            case _:
                self._cluster.restart(self._member(target))
        self.strikes[f"{act} {target}"] += 1
        self.kills += act != "freeze"

    def _wait(self, least: float, most: float) -> None:
        self._stopping.wait(self._rng.uniform(least, most))

    def _member(self, role: str) -> str:
        return self._rng.choice([member for member in self._cluster.members if member.startswith(role)])

    def _fail_over(self) -> None:
        """Promote the standby. Then let the former primary come back, and restart processes that know nothing of it."""
        former = self._cluster.fail_over()
        self._wait(1.0, 4.0)
        restart_as_primary(former)
        for name in ("web", self._member("control-")):
            self._cluster.restart(name)
        self._wait(*FORMER_SECONDS)
        former.kill()
        self.strikes["fail over, with the former primary coming back"] += 1

    def _delay_outcomes(self) -> None:
        """Let no process read outcomes for some leases, while heartbeats are read."""
        first, *others = [name for name in self._cluster.members if name.startswith("control-")]
        self._cluster.serve(first, *(name for name in QUEUES if name != OUTCOME_QUEUE))
        self._cluster.restart(first)
        with contextlib.ExitStack() as frozen:
            for name in others:
                frozen.enter_context(self._cluster.stopped(self._cluster.process(name)))
            self._wait(2 * LEASE_SECONDS, 4 * LEASE_SECONDS)
        self._cluster.serve(first)
        self._cluster.restart(first)

    def _freeze(self, name: str) -> None:
        child = self._cluster.process(name)
        seconds = self._rng.uniform(0.5, 2.0) * LEASE_SECONDS  # afterwards, some of its leases have expired

        def freeze() -> None:
            with contextlib.suppress(ProcessLookupError), self._cluster.stopped(child):  # it may have ended
                self._stopping.wait(seconds)

        thread = threading.Thread(target=freeze, name=f"freeze-{name}", daemon=True)
        thread.start()
        self._frozen.append(thread)
