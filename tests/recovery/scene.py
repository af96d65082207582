"""One scene of a kill: a worker whose steps wait for a gate, and means to hold the product at a certain point.

Nothing in the product knows of tests. What holds it is what could hold it in life: a row or a table that another
connection has locked, a server or a process that stands still or is gone.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis

from coordinator.celery import app
from executions.models.states import TERMINAL
from tests.building import BuiltRelease, eventually
from tests.recovery.cluster import TENANT, Cluster
from tests.recovery.history import History, histories
from tests.recovery.verdict import unlawful
from wire.identity import ReleaseIdentity
from wire.messages.queues import OUTCOME_QUEUE, queue_of

WORKER = "worker"
BEGINNING = 60


class Scene:
    def __init__(self, cluster: Cluster, release: BuiltRelease, folder: Path) -> None:
        self.cluster = cluster
        self.release = release
        self.folder = folder
        identity = release.document
        self._queue = queue_of(
            ReleaseIdentity(TENANT, identity["pipelineId"], identity["contractVersion"], identity["releaseVersion"])
        )

    # --- executions -------------------------------------------------------------------------------

    def place(self, key: str) -> Path:
        """The folder of one execution's gate and marks."""
        made = self.folder / key
        made.mkdir(exist_ok=True)
        return made

    def submit(self, key: str) -> str:
        value = {"folder": str(self.place(key))}
        made = self.cluster.client().submit(self.release.pipeline_id, value, f"{self.folder.name}-{key}")
        return str(made["executionId"])

    def open_gate(self, key: str) -> None:
        (self.place(key) / "gate").touch()

    def runs(self, key: str, mark: str = "started") -> int:
        """How often the step was started, or ended."""
        file = self.place(key) / mark
        return len(file.read_text().splitlines()) if file.exists() else 0

    def wait_for_run(self, key: str, mark: str = "started") -> None:
        eventually(lambda: self.runs(key, mark), what=f"the step of {key} {mark}")

    def history(self, execution_id: str) -> History:
        with self.cluster.connect() as connection:
            found = histories(connection, pipeline_id=self.release.pipeline_id)
        [one] = [one for one in found if one.execution_id == execution_id]
        return one

    def wait_for_event(self, execution_id: str, kind: str, seconds: float = 45) -> None:
        eventually(lambda: self.history(execution_id).count(kind), seconds=seconds, what=f"{kind} of {execution_id}")

    def ended(self, execution_id: str, seconds: float = 45) -> History:
        """The history of an execution, once it has ended; it must be lawful, and pinned as it was."""

        def over() -> History | None:
            found = self.history(execution_id)
            return found if found.status in TERMINAL else None

        found = eventually(over, seconds=seconds, what=f"the end of {execution_id}")
        document = self.release.document
        assert found.pin == (document["pipelineId"], document["contractVersion"], document["releaseVersion"])
        assert list(unlawful(found)) == []
        return found

    # --- holding the product ----------------------------------------------------------------------

    @contextmanager
    def locked(self, statement: str, *parameters: object) -> Iterator[psycopg.Connection]:
        """Hold a lock over a connection of the test's own within the block; on leaving it is let go."""
        with psycopg.connect(self.cluster.postgres.superuser_url()) as connection:
            connection.execute(statement.encode(), parameters)
            yield connection
            connection.rollback()

    def locked_row(self, execution_id: str) -> AbstractContextManager[psycopg.Connection]:
        return self.locked("SELECT FROM executions_execution WHERE id = %s FOR UPDATE", execution_id)

    def wait_for_lock(self, statement: str = "") -> None:
        """Wait until a statement of the product waits for a lock: any, or one that begins with `statement`."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, %s) > 0"
        beginning = statement.strip().partition("%")[0][:BEGINNING]  # up to its first parameter

        def waits() -> bool:
            with self.cluster.connect() as connection:
                return connection.execute(query, [beginning]).fetchone() != (0,)

        eventually(waits, seconds=60, what=f"{beginning!r} waiting for a lock")

    @contextmanager
    def without_dispatch_from_web(self) -> Iterator[None]:
        """What is submitted meanwhile is left to the control workers."""
        environment = self.cluster.product.environment
        environment["WEB_DISPATCHES"] = "false"
        self.cluster.restart("web")
        self.cluster.product.wait_until_ready()
        try:
            yield
        finally:
            del environment["WEB_DISPATCHES"]
            if self.cluster.is_ready("web"):
                self.cluster.kill("web")
            self.cluster.start("web")
            self.cluster.product.wait_until_ready()

    def stop_the_clock(self) -> None:
        """From now on no lease is taken away: the clock is dead, and its last ring is heard.

        Of earlier tests nothing may come back either: what their dead processes had in hand is removed.
        """
        self.cluster.kill("clock")
        eventually(lambda: self._length("control") == 0, what="the end of what the clock rang for")
        with redis.Redis.from_url(self.cluster.valkey.url) as client:
            client.delete("unacked", "unacked_index")

    # --- the broker -------------------------------------------------------------------------------

    @property
    def commands(self) -> int:
        """How many messages wait in the queue of the release."""
        return self._length(self._queue)

    @property
    def outcomes(self) -> int:
        return self._length(OUTCOME_QUEUE)

    @property
    def in_hand(self) -> int:
        """How many messages were delivered and not acknowledged."""
        with redis.Redis.from_url(self.cluster.valkey.url) as client:
            return int(client.hlen("unacked"))

    def lock_search_for_dead_hands(self) -> None:
        """Take the lock under which control workers look for messages in dead hands, for as long as they would."""
        with app.connection_for_read() as connection, redis.Redis.from_url(self.cluster.valkey.url) as client:
            channel: Any = connection.default_channel
            taken = client.lock(channel.unacked_mutex_key, timeout=channel.unacked_mutex_expire)
            assert taken.acquire(blocking_timeout=5)

    def _length(self, queue: str) -> int:
        with redis.Redis.from_url(self.cluster.valkey.url) as client:
            return int(client.llen(queue))
