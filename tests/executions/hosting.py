import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from executions import tasks
from executions.models import Execution
from executions.state_machine.moves import Claim
from executions.transports.celery import command_of
from governance.activation.activation import activate
from pipelines.release.descriptor import release as write_release
from pipelines.release.packaging import build
from pipelines.worker.host import Host
from pipelines.worker.hosted_release import host_source
from pipelines.worker.outcomes import Report
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from wire.messages.celery_messages import CommandGroup
from wire.messages.sealing import seal
from wire.worker_keys import WorkerKey, worker_key

LONG_AGO = making.LONG_AGO

SOURCE = """
from datetime import timedelta
from pathlib import Path

from pipelines import Pipeline, StepContext

HERE = Path(__file__).parent
pipeline = Pipeline("tests.{name}", checkpoint={checkpoint})


def mark(step: str) -> int:
    with (HERE / step).open("a") as marks:
        marks.write("x")
    return (HERE / step).stat().st_size

"""
ONE = """
@pipeline.step
def step_{n}(number: int) -> int:
    return number + 1
"""
FAILS_TWICE = """
@pipeline.step
def step_{n}(number: int, context: StepContext) -> int:
    if mark("step_{n}") < 3:
        raise RuntimeError("not yet")
    return number * 100 + context.attempt
"""
MARKS = """
@pipeline.step
def step_{n}(number: int) -> int:
    mark("step_{n}")
    return number + 1
"""
ASKS = """
pipeline.awaits("ask {n}", request=int, response=int, timeout=timedelta(days=1))
"""


@dataclass
class Hosted:
    """A pipeline with an active release, and the host that runs it."""

    owner: Tenant
    release: Release
    host: Host
    folder: Path

    @property
    def key(self) -> WorkerKey:
        return worker_key(settings.WORKER_SECRET, self.owner.slug)

    def another(self, take_ticket: Callable[[str], bool]) -> Host:
        return Host(self.host.release, key=self.key, worker_id="worker-2", capacity=1, take_ticket=take_ticket)

    def submit(self, value: Any) -> Execution:
        return making.execution(self.owner, secrets.token_hex(4), value, self.release.pipeline.pipeline_id)

    def claim(self) -> Claim:
        [claim] = making.claimed(self.owner)
        return claim

    def reports(self, claim: Claim, host: Host | None = None) -> list[Report]:
        commands = CommandGroup(commands=[command_of(claim)])
        found: list[Report] = []
        (host or self.host).execute(seal(self.release.identity, commands, self.key), found.append)
        return found

    def answer(self, claim: Claim, host: Host | None = None) -> None:
        for each in self.reports(claim, host):
            tasks.record((host or self.host).sealed([each]))

    def run(self, execution: Execution) -> Execution:
        """Run claims until no execution is due. Return the execution with its new state."""
        while claims := making.claimed(self.owner):
            for claim in claims:
                self.answer(claim)
            Execution.objects.filter(pk=execution.pk, status="WAIT_RETRY").update(next_due_at=LONG_AGO)
        execution.refresh_from_db()
        return execution


@dataclass
class Hosting:
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *steps: str, checkpoint: bool = True) -> Hosted:
        """Host a pipeline of these steps. `{n}` in a step is replaced with its index."""
        self.monkeypatch.setattr(sys, "dont_write_bytecode", True)
        name = f"hosted_{secrets.token_hex(4)}"
        folder = self.folder / name
        folder.mkdir()
        body = "\n".join(step.format(n=number) for number, step in enumerate(steps))
        (folder / f"{name}.py").write_text(SOURCE.format(name=name, checkpoint=checkpoint) + body)
        self.monkeypatch.syspath_prepend(str(folder))
        # After the test, `monkeypatch` removes the module from `sys.modules` again.
        self.monkeypatch.setitem(sys.modules, name, None)
        self.monkeypatch.delitem(sys.modules, name)
        artifact = build(f"{name}:pipeline", folder / "dist")
        descriptor = write_release(folder / "dist", release_version="1.0")
        owner = making.tenant()
        release = making.verified(making.upload(owner, descriptor.document, artifact.path.read_bytes()).release)
        activate(release, actor="user:test")
        making.worker(release)
        key = worker_key(settings.WORKER_SECRET, owner.slug)
        source = host_source(f"{name}:pipeline", descriptor.path, owner.slug)
        host = Host(source, key=key, worker_id="worker-1", capacity=1, take_ticket=making.granted)
        return Hosted(owner, release, host, folder)
