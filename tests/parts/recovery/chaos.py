"""Kills and freezes the processes of a cluster one at a time, in an order that a seed determines."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from random import Random

from tests.parts.recovery.cluster import Cluster

# The relative frequency of each strike. A frozen process continues after its leases have expired.
WEIGHTS = {
    "kill transition worker": 30,
    "kill control worker": 28,
    "kill web": 10,
    "kill clock": 6,
    "freeze transition worker": 8,
    "freeze control worker": 4,
    "empty the broker": 4,
    "kill PostgreSQL": 4,
}
ROLES = ("worker-v1", "worker-v2", "worker-h1", "control-", "web", "clock")
ENDED_BY_A_STEP = "ended by a step"
WAIT_PROBABILITY = 0.85
LONGEST_WAIT_SECONDS = 10.0


class Chaos(threading.Thread):
    """Strikes every `pause` seconds until `stop`. `strikes` counts the strikes of each kind.

    Most strikes wait until each role has a ready process. Otherwise the machine would spend its time on starting
    processes instead of on executions. A process that ends without a strike is restarted, as a supervisor would do. Its
    log is added to `unexpected_ends` unless its exit status is one of `expected_statuses`.
    """

    def __init__(
        self,
        cluster: Cluster,
        rng: Random,
        *,
        pause: tuple[float, float],
        lease_seconds: float,
        expected_statuses: Collection[int] = (),
    ) -> None:
        super().__init__(name="chaos", daemon=True)
        self.strikes: Counter[str] = Counter()
        self.unexpected_ends: list[str] = []
        self.error: BaseException | None = None
        self._cluster = cluster
        self._rng = rng
        self._pause = pause
        self._lease = lease_seconds
        self._expected_statuses = expected_statuses
        self._stopping = threading.Event()
        self._frozen: list[threading.Thread] = []

    def run(self) -> None:
        try:
            while not self._stopping.wait(self._rng.uniform(*self._pause)):
                self.restart_ended()
                self._wait_for_every_role()
                self._strike()
        except BaseException as error:
            self.error = error

    @property
    def kills(self) -> int:
        return sum(count for kind, count in self.strikes.items() if not kind.startswith(("freeze", ENDED_BY_A_STEP)))

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
                self.strikes[ENDED_BY_A_STEP] += 1
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
        kind = self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        strikes: dict[str, Callable[[], None]] = {
            "kill transition worker": lambda: self._kill("worker-"),
            "kill control worker": lambda: self._kill("control-"),
            "kill web": lambda: self._kill("web"),
            "kill clock": lambda: self._kill("clock"),
            "freeze transition worker": lambda: self._freeze("worker-"),
            "freeze control worker": lambda: self._freeze("control-"),
            "empty the broker": self._empty_broker,
            "kill PostgreSQL": self._kill_postgres,
        }
        strikes[kind]()
        self.strikes[kind] += 1

    def _chosen(self, prefix: str) -> str:
        return self._rng.choice([name for name in self._cluster.members if name.startswith(prefix)])

    def _kill(self, prefix: str) -> None:
        self._cluster.restart(self._chosen(prefix))

    def _freeze(self, prefix: str) -> None:
        name = self._chosen(prefix)
        child = self._cluster.process(name)
        seconds = self._rng.uniform(0.5, 2.0) * self._lease

        def freeze() -> None:
            with self._cluster.stopped(child):
                self._stopping.wait(seconds)

        thread = threading.Thread(target=freeze, name=f"freeze-{name}", daemon=True)
        thread.start()
        self._frozen.append(thread)

    def _empty_broker(self) -> None:
        self._cluster.valkey.kill()
        self._cluster.valkey.remove_data()
        self._stopping.wait(self._rng.uniform(0, 1.5))
        self._cluster.valkey.start()

    def _kill_postgres(self) -> None:
        self._cluster.postgres.kill()
        self._stopping.wait(self._rng.uniform(0, 1.0))
        self._cluster.postgres.start()
