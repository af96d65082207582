"""Drains, restarts and rejections of workers with real processes."""

from datetime import UTC, datetime
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from celery import current_app
from django.conf import settings

from embedded.valkey import Valkey
from tests import making
from tests.e2e.conftest import PIPELINES
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build, eventually
from wire.broker import client
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Instruction
from wire.messages.limits import TOLERANCE
from wire.messages.queues import EXECUTE_TASK, INSTRUCTION_TASK, instruction_queue_of, queue_of
from wire.messages.sealing import seal
from wire.worker_keys import WorkerKey, worker_key


def test_the_history_of_a_worker_records_its_state_changes(tenant: TenantInUse, v1: BuiltRelease) -> None:
    worker = tenant.start_worker(v1, "short-lived")
    worker.kill()
    tenant.wait_for_worker("short-lived", "STALE")

    def causes() -> list[str]:
        return [event["data"]["cause"] for event in tenant.get("workers/tests.pinned/short-lived/events")["items"]]

    eventually(lambda: causes() == ["SILENT", "REGISTERED"], what="the event of the clock")
    restarted = tenant.start_worker(v1, "short-lived")
    restarted.stop(grace=20)
    tenant.wait_for_worker("short-lived", "UNAVAILABLE")
    assert causes()[:1] == ["STOPPED"]
    assert causes()[-3:] == ["HEARD_AGAIN", "SILENT", "REGISTERED"]


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

    def log(self) -> str:
        """Return the worker's log for this tenant. A worker of the same name may have written to the file before."""
        return self.drained.log.read_text().split(self.tenant.tenant.slug, 1)[1]

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

    def send(self, message: Any) -> None:
        """Put a message into the worker's queue of instructions, like any client of the broker could."""
        client.send_latest(INSTRUCTION_TASK, message, queue=instruction_queue_of(self.identity, "drained"), seconds=60)

    @property
    def identity(self) -> ReleaseIdentity:
        members = ("pipelineId", "contractVersion", "releaseVersion")
        return ReleaseIdentity(self.tenant.tenant.slug, *(self.release.document[member] for member in members))

    def sealed(self, *, drain: bool, key: WorkerKey | None = None, name: str = "drained") -> dict[str, Any]:
        own = worker_key(settings.WORKER_SECRET, self.tenant.tenant.slug)
        return seal(self.identity, Instruction(worker_id=name, drain=drain), own if key is None else key)

    def log_has(self, text: str) -> None:
        eventually(lambda: text in self.log(), what=f"{text!r} in the worker's log")


@pytest.fixture
def two(tenant: TenantInUse, tmp_path: Path) -> TwoWorkers:
    return TwoWorkers(tenant, tmp_path)


def test_a_drained_worker_finishes_its_commands_and_gets_no_more(two: TwoWorkers) -> None:
    busy = [two.submit(two.gate)]
    two.wait_until(holding=1)
    two.tenant.start_worker(two.release, "other")
    # The broker gives each message to either of them.
    while not two.worker("other")["holding"]:
        busy.append(two.submit(two.gate))
        assert len(busy) < 4
        eventually(lambda: two.worker("drained")["holding"] + two.worker("other")["holding"] == len(busy), seconds=60)
    held = two.worker("drained")["holding"]

    two.request("drain")
    two.wait_until(state="DRAINING", taking=False, holding=held)
    # The commands of the drained worker use no place of the other, which therefore has a free place.
    assert two.run_by() == {"worker:other"}
    assert two.worker("drained")["holding"] == held

    two.gate.touch()
    for execution_id in busy:
        two.tenant.wait_for(execution_id, "SUCCEEDED")
    actors = [two.tenant.events(execution_id)[-1]["actor"] for execution_id in busy]
    assert actors.count("worker:drained") == held
    two.wait_until(state="DRAINING", taking=False, holding=0)

    two.request("undrain")
    two.wait_until(state="HEALTHY", taking=True)
    two.request("drain", "other")
    two.wait_until("other", taking=False)
    assert two.run_by() == {"worker:drained"}


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


def test_an_invalid_command_does_not_occupy_a_place(two: TwoWorkers) -> None:
    app: Any = current_app
    for arguments in ((), (1, 2), ("text",), (None,)) * 2:
        app.send_task(EXECUTE_TASK, args=arguments, queue=queue_of(two.identity))
    assert two.run_by() == {"worker:drained"}


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGKILL])
def test_a_drained_worker_gets_no_commands_after_a_restart(two: TwoWorkers, number: Signals) -> None:
    two.tenant.start_worker(two.release, "other")
    two.request("drain")
    two.wait_until(taking=False)
    before = two.worker("drained")
    two.drained.stop(number=number)
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


def test_foreign_and_outdated_instructions_are_ignored(two: TwoWorkers) -> None:
    two.wait_until(taking=True)
    foreign = two.sealed(drain=True, key=worker_key("another secret", two.tenant.tenant.slug))
    own = worker_key(settings.WORKER_SECRET, two.tenant.tenant.slug)
    long_ago = (datetime.now(UTC) - TOLERANCE * 2).isoformat()
    for message, code in (
        (foreign, "KEY_NOT_ACTIVE"),
        (two.sealed(drain=True, name="other"), "ORDER_MISDIRECTED"),
        (making.resealed(two.sealed(drain=True), own, timestamp=long_ago), "TIMESTAMP_REFUSED"),
        ({"kind": "order"}, "ENVELOPE_MALFORMED"),
    ):
        two.send(message)
        two.log_has(f"Ignored an instruction: {code}")
        assert two.worker("drained")["taking"]

    # A holder of the key can send an instruction. The next heartbeat restores the state of the row.
    instruction = two.sealed(drain=True)
    two.send(instruction)
    two.log_has("Instructed to drain")
    eventually(
        lambda: "Instructed to accept" in two.log().split("Instructed to drain")[1], what="the opposite instruction"
    )
    two.wait_until(taking=True)
    two.send(instruction)
    two.log_has("Ignored an instruction: ORDER_OUTDATED")
    assert two.run_by() == {"worker:drained"}
    assert two.log().count("Instructed to drain") == 1


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


def test_a_step_that_checks_for_cancellation_frees_its_place_at_once(two: TwoWorkers) -> None:
    both = [two.submit(two.gate, checks_cancellation=True), two.submit(two.gate)]
    for each in both:
        two.tenant.wait_until_begun(each)
    cancel(two, both[0])
    assert two.run_by(2) == {"worker:drained"}
    kinds = [event["kind"] for event in two.tenant.events(both[0])]
    assert kinds == ["SUBMITTED", "CLAIMED", "CANCELLED", "OUTCOME_DROPPED"]
    assert two.tenant.execution(both[1])["status"] == "RUNNING"


def test_a_rejected_worker_logs_the_reason_and_ends(tenant: TenantInUse, v1: BuiltRelease) -> None:
    worker = tenant.product.start_worker(
        f"wrong-{tenant.tenant.slug}",
        release=v1.descriptor,
        tenant=tenant.tenant.slug,
        key=worker_key("another secret", tenant.tenant.slug).text,
    )
    tenant.workers.append(worker)
    eventually(lambda: not worker.running, what="its end", seconds=60)
    assert worker.status == 2
    assert "error: WORKER_REFUSED: no coordinator accepts this worker: KEY_NOT_ACTIVE" in worker.log.read_text()
    [control] = [child for child in tenant.product.children.started if child.name == "control-worker"]
    refused = [line for line in control.log.read_text().splitlines() if worker.name in line]
    assert "Refused a heartbeat: KEY_NOT_ACTIVE" in refused[0]
    assert tenant.get("workers")["items"] == []


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
