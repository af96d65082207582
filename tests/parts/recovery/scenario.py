"""A worker whose steps wait for a gate, and ways to stop the product at a certain point.

The product has no code for tests. It is stopped by what could also stop it in production: a row or a table that another
connection has locked, or a server or process that is frozen or killed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis

from coordinator.celery import app
from executions.models.states import TERMINAL
from tests.building import BuiltRelease, eventually
from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.history import History, history
from tests.parts.recovery.verdict import contradictions
from wire.messages.queues import OUTCOME_QUEUE

WORKER = "worker"


class Scenario:
    """A cluster with one hosted release whose step waits for a gate. `folder` contains the gates."""

    def __init__(self, cluster: Cluster, release: BuiltRelease, folder: Path) -> None:
        self.cluster = cluster
        self.release = release
        self.folder = folder
        document = release.document
        self._pin = (document["pipelineId"], document["contractVersion"], document["releaseVersion"])

    def folder_of(self, key: str) -> Path:
        """Return the folder for the gate and the marks of one execution."""
        folder = self.folder / key
        folder.mkdir(exist_ok=True)
        return folder

    def submit(self, key: str) -> str:
        value = {"folder": str(self.folder_of(key))}
        accepted = self.cluster.client().submit(self.release.pipeline_id, value, f"{self.folder.name}-{key}")
        return str(accepted["executionId"])

    def open_gate(self, key: str) -> None:
        (self.folder_of(key) / "gate").touch()

    def open_gates(self) -> None:
        for folder in self.folder.iterdir():
            (folder / "gate").touch()

    def runs(self, key: str) -> int:
        file = self.folder_of(key) / "started"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def wait_for_run(self, key: str) -> None:
        eventually(lambda: self.runs(key), what=f"the step of {key}")

    def history(self, execution_id: str) -> History:
        with self.cluster.connect() as connection:
            return history(connection, execution_id)

    def wait_for_event(self, execution_id: str, kind: str, seconds: float = 45) -> None:
        eventually(lambda: self.history(execution_id).count(kind), seconds=seconds, what=f"{kind} of {execution_id}")

    def ended(self, execution_id: str, seconds: float = 45) -> History:
        """Wait for the end of an execution and return its history, which must be consistent and have the same pin."""

        def ended_history() -> History | None:
            history = self.history(execution_id)
            return history if history.status in TERMINAL else None

        history = eventually(ended_history, seconds=seconds, what=f"the end of {execution_id}")
        assert history.pin == self._pin
        assert contradictions(history) == []
        return history

    @contextmanager
    def locked_row(self, execution_id: str) -> Iterator[None]:
        with psycopg.connect(self.cluster.postgres.superuser_url()) as connection:
            connection.execute("SELECT FROM executions_execution WHERE id = %s FOR UPDATE", [execution_id])
            yield
            connection.rollback()

    def wait_for_record(self) -> None:
        """Wait until the transaction that records an outcome waits for a row. It begins by locking its executions."""
        query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%e.budget_start, e.%'"

        def waits() -> bool:
            with self.cluster.connect() as connection:
                return connection.execute(query).rowcount > 0

        eventually(waits, seconds=60, what="a record that waits for its row")

    def stop_the_clock(self) -> None:
        """Kill the clock, so that no lease is taken over, and wait until its last messages are processed.

        Also remove the unacknowledged messages of processes that earlier tests killed, so that none is redelivered.
        """
        self.cluster.kill("clock")
        eventually(lambda: self._length("control") == 0, what="the end of the clock's last messages")
        with redis.Redis.from_url(self.cluster.valkey.url) as client:
            client.delete("unacked", "unacked_index")

    @property
    def outcomes(self) -> int:
        return self._length(OUTCOME_QUEUE)

    @property
    def unacknowledged(self) -> int:
        with redis.Redis.from_url(self.cluster.valkey.url) as client:
            return int(client.hlen("unacked"))

    def lock_redelivery(self) -> None:
        """Take the lock under which control workers redeliver messages of dead processes, with the usual expiry."""
        with app.connection_for_read() as connection, redis.Redis.from_url(self.cluster.valkey.url) as client:
            channel: Any = connection.default_channel
            lock = client.lock(channel.unacked_mutex_key, timeout=channel.unacked_mutex_expire)
            assert lock.acquire(blocking_timeout=5)

    def _length(self, queue: str) -> int:
        with redis.Redis.from_url(self.cluster.valkey.url) as client:
            return int(client.llen(queue))
