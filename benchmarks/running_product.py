"""A running product, in which rounds of executions are measured."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from benchmarks import load
from benchmarks.ledger import Ledger
from benchmarks.load_client import Account, Task
from benchmarks.processes import CpuMeter, Tree, frozen

TENANT = "bench"
THREE_STEPS = "three_steps"
THREE_CHECKPOINTED = "three_checkpointed"
INPUT, RESULT = 1, 4


@dataclass(frozen=True, slots=True)
class SubmissionMode:
    """How executions are submitted: the number of connections and the batch size, or 0 for single submissions."""

    connections: int
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """One measured round, in which the ledger has confirmed all executions.

    `cpu` holds the CPU seconds of each process. `seconds` is the time from the first request to the last finish time in
    the database.
    """

    items: int
    seconds: float
    client: Account
    cpu: dict[str, float]
    writes: int
    wal_bytes: int
    checkpoints: int

    @property
    def rate(self) -> float:
        return self.items / self.seconds

    @property
    def submission_rate(self) -> float:
        return self.items / (self.client.ended - self.client.started)


class RunningProduct(ABC):
    """Its web processes listen on `port`, `tokens` has a token of each tenant, and `ledger` reads its database."""

    port: int
    ledger: Ledger

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}
        self._rounds = itertools.count(1)

    @abstractmethod
    def trees(self) -> Mapping[str, Tree]:
        """Return the processes whose CPU time is reported separately."""

    def workers(self) -> list[Tree]:
        """Return the control workers and the workers."""
        return [tree for name, tree in self.trees().items() if name.startswith(("control-worker", "worker"))]

    @staticmethod
    def pipeline_id(module: str) -> str:
        return f"benchmarks.{module.replace('_', '-')}"

    def task(self, module: str, count: int, mode: SubmissionMode, tenant: str = TENANT) -> tuple[Task, str]:
        """Return the task of the load client and the unique prefix of its keys."""
        prefix = f"r{next(self._rounds)}-"
        item = f'{{"pipelineId":"{self.pipeline_id(module)}","input":{INPUT},"idempotencyKey":"{prefix}{{key}}"}}'
        path = f"/api/v1/tenants/{tenant}/executions{':batch' if mode.batch else ''}"
        headers = {"Authorization": f"Bearer {self.tokens[tenant]}"}
        return Task(self.port, path, headers, item, count, mode.connections, mode.batch), prefix

    def round(
        self,
        module: str,
        count: int,
        mode: SubmissionMode,
        paused: Collection[Tree] = (),
        *,
        tenant: str = TENANT,
    ) -> Round:
        """Submit `count` executions and wait until all have ended. Raises `LoadError` or `LedgerError`.

        The processes `paused` are frozen during the submission, so that only the submission is measured.
        """
        task, prefix = self.task(module, count, mode, tenant)
        before = self.ledger.counters()
        meter = CpuMeter(self.trees())
        with frozen(paused):
            account = load.submit(task)
            submission = meter.read()
        self.ledger.wait_until_idle(self.pipeline_id(module))
        cpu = submission if paused else meter.read()
        ending = self.ledger.require_all_done(self.pipeline_id(module), prefix, account.accepted, RESULT)
        after = self.ledger.counters()
        return Round(
            count,
            ending.last - account.started,
            account,
            load.with_client(cpu, account),
            after.writes - before.writes,
            after.wal_bytes - before.wal_bytes,
            ending.checkpoints,
        )
