"""Kills and freezes the processes of a cluster one at a time, in an order that a seed determines."""

import threading
import time
from collections import Counter
from collections.abc import Collection
from random import Random

from tests.parts.recovery.cluster import LEASE_SECONDS, Cluster

# The relative frequency of each strike. A frozen process continues after its leases have expired.
WEIGHTS = {
    ("kill", "worker-"): 30,
    ("kill", "control-"): 28,
    ("kill", "web"): 10,
    ("kill", "clock"): 6,
    ("freeze", "worker-"): 8,
    ("freeze", "control-"): 4,
    ("empty", "broker"): 4,
    ("kill", "PostgreSQL"): 4,
}
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

    def __init__(self, cluster: Cluster, rng: Random, *, expected_statuses: Collection[int]) -> None:
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

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.uniform(*PAUSE_SECONDS)):
                self.restart_ended()
                self._wait_for_every_role()
                self._strike()
        except BaseException as error:
            self.error = error

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
        act, target = self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if act == "empty":
            self._cluster.valkey.kill()
            self._cluster.valkey.remove_data()
            self._stopping.wait(self._rng.uniform(0, 1.5))
            self._cluster.valkey.start()
        elif target == "PostgreSQL":
            self._cluster.postgres.kill()
            self._stopping.wait(self._rng.uniform(0, 1.0))
            self._cluster.postgres.start()
        else:
            name = self._rng.choice([each for each in self._cluster.members if each.startswith(target)])
            (self._cluster.restart if act == "kill" else self._freeze)(name)
        self.strikes[f"{act} {target}"] += 1
        self.kills += act != "freeze"

    def _freeze(self, name: str) -> None:
        child = self._cluster.process(name)
        seconds = self._rng.uniform(0.5, 2.0) * LEASE_SECONDS

        def freeze() -> None:
            with self._cluster.stopped(child):
                self._stopping.wait(seconds)

        thread = threading.Thread(target=freeze, name=f"freeze-{name}", daemon=True)
        thread.start()
        self._frozen.append(thread)
