"""Drains, restarts and rejections of workers with real processes."""

from pathlib import Path
from typing import Any

import pytest

from embedded.valkey import Valkey
from tests.e2e.conftest import PIPELINES
from tests.running import RunningProduct, TenantInUse, build, eventually
from wire.worker_keys import worker_key

WAITING = "tests.waiting"


class TwoWorkers:
    """The workers `drained` and `other` of one release, whose only step waits until its gate exists."""

    def __init__(self, tenant: TenantInUse, folder: Path) -> None:
        self.tenant = tenant
        self.gate, self.open = folder / "gate", folder / "open"
        self.open.touch()
        self.release = build("waiting:pipeline", PIPELINES / "waiting", folder / "waiting", "1.0")
        tenant.register(self.release)
        tenant.activate(self.release)
        self.drained = tenant.start_worker(self.release, "drained")
        self.count = 0

    def submit(self, gate: Path, **members: Any) -> str:
        self.count += 1
        value = {"number": self.count, "gate": str(gate), **members}
        return str(self.tenant.accepted(WAITING, value, f"k{self.count}")["executionId"])

    def worker(self, name: str) -> dict[str, Any]:
        [found] = [each for each in self.tenant.get("workers")["items"] if each["workerId"] == name]
        return dict(found)

    def request(self, change: str, name: str = "drained") -> None:
        response = self.tenant.http.post(self.tenant.url(f"workers/{WAITING}/{name}/{change}"))
        assert response.status_code == 200, response.text

    def wait_until(self, name: str = "drained", **reported: Any) -> None:
        """Wait until the worker reports these values."""
        eventually(lambda: reported.items() <= self.worker(name).items(), what=f"worker {name} {reported}")

    def run_by(self, number: int = 6, *, seconds: float = 30) -> set[str]:
        """Return the actors that run `number` new executions."""
        execution_ids = [self.submit(self.open) for _ in range(number)]
        for execution_id in execution_ids:
            self.tenant.wait_for(execution_id, "SUCCEEDED", seconds=seconds)
        return {self.tenant.events(execution_id)[-1]["actor"] for execution_id in execution_ids}


@pytest.fixture
def two(tenant: TenantInUse, tmp_path: Path) -> TwoWorkers:
    return TwoWorkers(tenant, tmp_path)


def test_a_command_is_received_by_a_worker_with_a_free_place(two: TwoWorkers) -> None:
    """It does not wait at a busy worker, which would not renew its lease."""
    busy = [two.submit(two.gate), two.submit(two.gate)]
    two.wait_until(holding=2)
    two.tenant.start_worker(two.release, "other")
    busy += [two.submit(two.gate), two.submit(two.gate)]
    two.wait_until("other", holding=2)
    assert two.worker("drained")["holding"] == 2
    two.gate.touch()
    for execution_id in busy:
        two.tenant.wait_for(execution_id, "SUCCEEDED")
        kinds = [event["kind"] for event in two.tenant.events(execution_id)]
        assert kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]


def test_a_drained_worker_gets_no_commands_after_a_restart(two: TwoWorkers) -> None:
    two.tenant.start_worker(two.release, "other")
    two.request("drain")
    two.wait_until(taking=False)
    before = two.worker("drained")
    two.drained.kill()
    two.drained = two.tenant.start_worker(two.release, "drained", "DRAINING")
    eventually(lambda: two.worker("drained")["lastHeartbeatAt"] > before["lastHeartbeatAt"], what="its heartbeat")
    assert two.run_by() == {"worker:other"}
    assert two.worker("drained")["state"] == "DRAINING"

    two.request("undrain")
    two.wait_until(taking=True)
    two.request("drain", "other")
    two.wait_until("other", taking=False)
    assert two.run_by() == {"worker:drained"}


def test_instructions_that_the_broker_lost_are_sent_again(
    own_broker: tuple[RunningProduct, Valkey], tmp_path: Path, name: str
) -> None:
    """The broker is killed before the instruction is sent and restarts empty. The next heartbeat causes a new one."""
    running, valkey = own_broker
    two = TwoWorkers(running.tenant(name), tmp_path)
    try:
        two.tenant.start_worker(two.release, "other")
        for change, taking, expected in (("drain", False, "other"), ("undrain", True, "drained")):
            valkey.kill()
            two.request(change)
            valkey.remove_data()
            valkey.start()
            two.wait_until(taking=taking)
            if taking:
                two.request("drain", "other")
                two.wait_until("other", taking=False)
            assert two.run_by(seconds=90) == {f"worker:{expected}"}
    finally:
        two.tenant.stop_workers()


def cancel(two: TwoWorkers, execution_id: str) -> None:
    response = two.tenant.http.post(two.tenant.url(f"executions/{execution_id}/cancel"), json={"reason": "a mistake"})
    assert response.status_code == 200, response.text


def test_a_thread_with_a_cancelled_step_gets_no_work_and_waiting_executions_are_not_running(two: TwoWorkers) -> None:
    cancelled, other = two.submit(two.gate), two.submit(two.gate)
    for each in (cancelled, other):
        assert two.tenant.wait_until_begun(each)["worker"] == "drained"
    cancel(two, cancelled)
    waiting = two.submit(two.open)
    two.wait_until(abandoned=1, running=1, capacity=2)
    # A command that was sent before this report was returned to the queue or waits in the broker.
    two.tenant.wait_for(waiting, "QUEUED")
    assert two.tenant.execution(waiting)["runningSince"] is None
    assert two.worker("drained")["holding"] == 2
    two.gate.touch()
    two.tenant.wait_for(waiting, "SUCCEEDED")
    two.tenant.wait_for(other, "SUCCEEDED")
    two.wait_until(abandoned=0, holding=0)
    kinds = [event["kind"] for event in two.tenant.events(cancelled)]
    assert kinds == ["SUBMITTED", "CLAIMED", "CANCELLED", "OUTCOME_DROPPED"]


def test_a_worker_without_a_response_from_a_coordinator_waits(
    own_broker: tuple[RunningProduct, Valkey], tmp_path: Path, name: str
) -> None:
    """A missing response is not a rejection. The worker is accepted as soon as a coordinator runs."""
    running, _ = own_broker
    [control] = [child for child in running.product.children.started if child.name == "control-worker"]
    control.stop()
    tenant = running.tenant(name)
    release = build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")
    worker = tenant.product.start_worker(
        "early",
        release=release.descriptor,
        tenant=name,
        key=worker_key(running.product.environment["WORKER_SECRET"], name).text,
    )
    try:
        eventually(lambda: "ready." in worker.log.read_text(), what="its start", seconds=60)
        running.product.start_control_worker("later")
        eventually(lambda: "Instructed to accept commands" in worker.log.read_text(), what="its acceptance", seconds=60)
        assert worker.running
    finally:
        worker.stop()
