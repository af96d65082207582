"""Kills and freezes the processes of a cluster, one after the other, as a seed has it."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from random import Random

from tests.recovery.cluster import Cluster

# How often each is chosen. A frozen process outlives its leases and then goes on as if nothing had been.
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
BREATHES = 0.85
LONGEST_BREATH = 10.0


class Chaos(threading.Thread):
    """Strikes every `pause` seconds until `stop`; `strikes` counts how often each kind did.

    Most strikes wait until each role has a process that works, so that the machine spends its time on executions and
    not only on starting processes. A process that ends without a strike is started again, as a supervisor would. It is
    listed in `fallen` unless its exit status is one of the `expected`.
    """

    def __init__(
        self,
        cluster: Cluster,
        rng: Random,
        *,
        pause: tuple[float, float],
        lease_seconds: float,
        expected: Collection[int] = (),
    ) -> None:
        super().__init__(name="chaos", daemon=True)
        self.strikes: Counter[str] = Counter()
        self.fallen: list[str] = []
        self.error: BaseException | None = None
        self._cluster = cluster
        self._rng = rng
        self._pause = pause
        self._lease = lease_seconds
        self._expected = expected
        self._over = threading.Event()
        self._frozen: list[threading.Thread] = []

    def run(self) -> None:
        try:
            while not self._over.wait(self._rng.uniform(*self._pause)):
                self.mourn()
                self._breathe()
                self._strike()
        except BaseException as error:
            self.error = error

    @property
    def kills(self) -> int:
        return sum(count for kind, count in self.strikes.items() if not kind.startswith(("freeze", ENDED_BY_A_STEP)))

    def stop(self) -> None:
        """Strike no more; every member is running when this returns. Raises what stopped the chaos, if anything."""
        self._over.set()
        self.join()
        for thread in self._frozen:
            thread.join()
        self.mourn()
        if self.error is not None:
            raise self.error

    def mourn(self) -> None:
        """Restart the processes that ended without a strike."""
        for name, log in self._cluster.fallen().items():
            status = self._cluster.process(name).status
            if status in self._expected:
                self.strikes[ENDED_BY_A_STEP] += 1
            else:
                self.fallen.append(f"{name} ended without a strike, with status {status}:\n{log}")
            self._cluster.restart(name)

    def _breathe(self) -> None:
        deadline = time.monotonic() + (LONGEST_BREATH if self._rng.random() < BREATHES else 0)
        while time.monotonic() < deadline and not self._over.is_set() and not self._has_every_role():
            self.mourn()
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

        def hold() -> None:
            with self._cluster.stopped(child):
                self._over.wait(seconds)

        thread = threading.Thread(target=hold, name=f"freeze-{name}", daemon=True)
        thread.start()
        self._frozen.append(thread)

    def _empty_broker(self) -> None:
        self._cluster.valkey.kill()
        self._cluster.valkey.remove_data()
        self._over.wait(self._rng.uniform(0, 1.5))
        self._cluster.valkey.start()

    def _kill_postgres(self) -> None:
        self._cluster.postgres.kill()
        self._over.wait(self._rng.uniform(0, 1.0))
        self._cluster.postgres.start()
