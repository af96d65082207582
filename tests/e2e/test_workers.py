"""Operators and workers over real processes: a drain holds, its work is shown as stranded, and goes on afterwards."""

import os
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


def test_work_of_a_drained_worker_is_stranded_until_it_is_undrained(
    tenant: TenantInUse, v1: BuiltRelease, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "only")
    work = {"number": 1, "fail_times": 1, "gate": str(gate)}
    made = tenant.accepted("tests.pinned", work, "k")["executionId"]
    tenant.wait_until_begun(made)
    assert tenant.http.post(tenant.url("workers/tests.pinned/only/drain")).status_code == 200
    gate.touch()

    [stranded] = eventually(lambda: tenant.get("stranded")["items"], what="the stranded work")
    assert (stranded["pin"]["releaseVersion"], stranded["executions"]) == ("1.0", 1)
    refused = tenant.submit("tests.pinned", {"number": 2}, "k2")
    assert (refused.status_code, refused.json()["code"]) == (503, "WORKER_UNAVAILABLE")
    # The worker beats on, and that undoes nothing.
    seen = tenant.get("workers")["items"][0]["lastHeartbeatAt"]
    eventually(lambda: tenant.get("workers")["items"][0]["lastHeartbeatAt"] > seen, what="a heartbeat")
    tenant.wait_for_worker("only", "DRAINING")
    assert tenant.execution(made)["status"] == "WAIT_RETRY"

    assert tenant.http.post(tenant.url("workers/tests.pinned/only/undrain")).status_code == 200
    tenant.wait_for(made, "SUCCEEDED")
    assert tenant.get("stranded")["items"] == []


def test_a_workers_life_is_in_its_history(tenant: TenantInUse, v1: BuiltRelease) -> None:
    worker = tenant.start_worker(v1, "mortal")
    worker.kill()
    tenant.wait_for_worker("mortal", "STALE")

    def causes() -> list[str]:
        return [event["data"]["cause"] for event in tenant.get("workers/tests.pinned/mortal/events")["items"]]

    eventually(lambda: causes() == ["SILENT", "REGISTERED"], what="the clock's note")
    again = tenant.start_worker(v1, "mortal")
    again.stop(grace=20)
    tenant.wait_for_worker("mortal", "UNAVAILABLE")
    assert causes()[:1] == ["STOPPED"]
    assert causes()[-3:] == ["HEARD_AGAIN", "SILENT", "REGISTERED"]


PATIENT = "tests.patient"


class Two:
    """The workers `drained` and `other` of one release whose only step lasts until its gate is open."""

    def __init__(self, tenant: TenantInUse, folder: Path) -> None:
        self.tenant = tenant
        self.gate, self.open = folder / "gate", folder / "open"
        self.open.touch()
        self.release = build("patient:pipeline", PIPELINES / "patient", folder / "patient", "1.0")
        tenant.register(self.release)
        tenant.activate(self.release)
        self.drained = tenant.start_worker(self.release, "drained")
        self.count = 0

    def log(self) -> str:
        """What the worker has logged for this tenant; a worker of the same name may have written before it."""
        return self.drained.log.read_text().split(self.tenant.tenant.slug, 1)[1]

    def submit(self, gate: Path, **members: Any) -> str:
        self.count += 1
        value = {"number": self.count, "gate": str(gate), **members}
        return str(self.tenant.accepted(PATIENT, value, f"k{self.count}")["executionId"])

    def worker(self, name: str) -> dict[str, Any]:
        [found] = [each for each in self.tenant.get("workers")["items"] if each["workerId"] == name]
        return dict(found)

    def order(self, order: str, name: str = "drained") -> None:
        answer = self.tenant.http.post(self.tenant.url(f"workers/{PATIENT}/{name}/{order}"))
        assert answer.status_code == 200, answer.text

    def wait_until(self, name: str = "drained", **told: Any) -> None:
        """Until the worker has said so of itself."""
        eventually(lambda: told.items() <= self.worker(name).items(), what=f"worker {name} {told}")

    def run_by(self, number: int = 6, *, seconds: float = 30) -> set[str]:
        """Who runs that many new executions."""
        made = [self.submit(self.open) for _ in range(number)]
        for execution_id in made:
            self.tenant.wait_for(execution_id, "SUCCEEDED", seconds=seconds)
        return {self.tenant.events(execution_id)[-1]["actor"] for execution_id in made}

    def send(self, message: Any) -> None:
        """Whatever anybody who reaches the broker may put into the worker's queue of orders."""
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
def two(tenant: TenantInUse, tmp_path: Path) -> Two:
    return Two(tenant, tmp_path)


def test_one_of_two_busy_workers_is_drained_finishes_what_it_has_and_takes_no_more(two: Two) -> None:
    busy = [two.submit(two.gate)]
    two.wait_until(holding=1)
    two.tenant.start_worker(two.release, "other")
    # The broker gives each message to either of them.
    while not two.worker("other")["holding"]:
        busy.append(two.submit(two.gate))
        assert len(busy) < 4
        eventually(lambda: two.worker("drained")["holding"] + two.worker("other")["holding"] == len(busy), seconds=60)
    held = two.worker("drained")["holding"]

    two.order("drain")
    two.wait_until(state="DRAINING", taking=False, holding=held)
    # What it still holds takes no place of the other's: there is one left, or the last would have to wait for it.
    assert two.run_by() == {"worker:other"}
    assert two.worker("drained")["holding"] == held

    two.gate.touch()
    for execution_id in busy:
        two.tenant.wait_for(execution_id, "SUCCEEDED")
    actors = [two.tenant.events(execution_id)[-1]["actor"] for execution_id in busy]
    assert actors.count("worker:drained") == held
    two.wait_until(state="DRAINING", taking=False, holding=0)

    two.order("undrain")
    two.wait_until(state="HEALTHY", taking=True)
    two.order("drain", "other")
    two.wait_until("other", taking=False)
    assert two.run_by() == {"worker:drained"}


def test_a_command_goes_to_a_worker_with_a_free_place(two: Two) -> None:
    """It does not wait at a busy one, where nobody would renew its lease."""
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


def test_what_is_no_command_takes_no_place_for_ever(two: Two) -> None:
    app: Any = current_app
    for arguments in ((), (1, 2), ("text",), (None,)) * 2:
        app.send_task(EXECUTE_TASK, args=arguments, queue=queue_of(two.identity))
    assert two.run_by() == {"worker:drained"}


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGKILL])
def test_a_drained_worker_that_is_started_again_takes_nothing(two: Two, number: Signals) -> None:
    two.tenant.start_worker(two.release, "other")
    two.order("drain")
    two.wait_until(taking=False)
    before = two.worker("drained")
    two.drained.stop(number=number)
    two.drained = two.tenant.start_worker(two.release, "drained", "DRAINING")
    eventually(lambda: two.worker("drained")["lastHeartbeatAt"] > before["lastHeartbeatAt"], what="its heartbeat")
    assert two.run_by() == {"worker:other"}
    assert two.worker("drained")["state"] == "DRAINING"

    two.order("undrain")
    two.wait_until(taking=True)
    two.order("drain", "other")
    two.wait_until("other", taking=False)
    assert two.run_by() == {"worker:drained"}


def test_orders_that_the_broker_lost_are_given_again(
    own_broker: tuple[RunningProduct, Valkey], tmp_path: Path, name: str
) -> None:
    """It dies before the order is sent, and comes back empty: what the row says is told at the next heartbeat."""
    running, valkey = own_broker
    two = Two(running.tenant(name), tmp_path)
    try:
        two.tenant.start_worker(two.release, "other")
        for order, taking, then in (("drain", False, "other"), ("undrain", True, "drained")):
            valkey.kill()
            two.order(order)
            valkey.remove_data()
            valkey.start()
            two.wait_until(taking=taking)
            if taking:
                two.order("drain", "other")
                two.wait_until("other", taking=False)
            assert two.run_by(seconds=90) == {f"worker:{then}"}
    finally:
        two.tenant.stop_workers()


def test_orders_of_others_and_old_orders_do_nothing(two: Two) -> None:
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
        two.log_has(f"Ignored an order: {code}")
        assert two.worker("drained")["taking"]

    # Whoever holds the key may give an order. It lasts until the worker tells of it: the row is the truth.
    order = two.sealed(drain=True)
    two.send(order)
    two.log_has("Ordered to drain")
    eventually(lambda: "Ordered to take" in two.log().split("Ordered to drain")[1], what="the other")
    two.wait_until(taking=True)
    two.send(order)
    two.log_has("Ignored an order: ORDER_OUTDATED")
    assert two.run_by() == {"worker:drained"}
    assert two.log().count("Ordered to drain") == 1


def cancel(two: Two, execution_id: str) -> None:
    answer = two.tenant.http.post(two.tenant.url(f"executions/{execution_id}/cancel"), json={"reason": "a mistake"})
    assert answer.status_code == 200, answer.text


def test_a_thread_that_runs_what_was_cancelled_gets_no_work_and_what_waits_does_not_show_as_running(two: Two) -> None:
    stubborn, other = two.submit(two.gate), two.submit(two.gate)
    for each in (stubborn, other):
        assert two.tenant.wait_until_begun(each)["worker"] == "drained"
    cancel(two, stubborn)
    waiting = two.submit(two.open)
    two.wait_until(abandoned=1, running=1, capacity=2)
    # A command that was sent before the worker reported this was given back, or waits in the broker.
    two.tenant.wait_for(waiting, "QUEUED")
    assert two.tenant.execution(waiting)["runningSince"] is None
    assert two.worker("drained")["holding"] == 2
    two.gate.touch()
    two.tenant.wait_for(waiting, "SUCCEEDED")
    two.tenant.wait_for(other, "SUCCEEDED")
    two.wait_until(abandoned=0, holding=0)
    kinds = [event["kind"] for event in two.tenant.events(stubborn)]
    assert kinds == ["SUBMITTED", "CLAIMED", "CANCELLED", "OUTCOME_DROPPED"]


def test_a_step_that_heeds_its_cancellation_makes_room_at_once(two: Two) -> None:
    both = [two.submit(two.gate, heeds=True), two.submit(two.gate)]
    for each in both:
        two.tenant.wait_until_begun(each)
    cancel(two, both[0])
    assert two.run_by(2) == {"worker:drained"}
    kinds = [event["kind"] for event in two.tenant.events(both[0])]
    assert kinds == ["SUBMITTED", "CLAIMED", "CANCELLED", "OUTCOME_DROPPED"]
    assert two.tenant.execution(both[1])["status"] == "RUNNING"


def test_a_step_whose_lease_was_taken_over_learns_of_it(two: Two) -> None:
    """The worker is silent for so long that another one gets the execution; then it is heard again."""
    lost = two.submit(two.gate, heeds=True)
    two.tenant.wait_until_begun(lost)
    two.drained.send(Signals.SIGSTOP)
    two.tenant.start_worker(two.release, "other")
    eventually(lambda: two.tenant.execution(lost)["worker"] == "other", what="the takeover", seconds=60)
    os.kill(two.drained.pid, Signals.SIGCONT)
    two.log_has(f"The lease of execution {lost} is lost")
    two.wait_until(holding=0)
    two.gate.touch()
    two.tenant.wait_for(lost, "SUCCEEDED")
    assert two.tenant.events(lost)[-1]["actor"] == "worker:other"


def test_a_worker_that_is_refused_says_why_and_ends(tenant: TenantInUse, v1: BuiltRelease) -> None:
    worker = tenant.product.start_worker(
        f"wrong-{tenant.tenant.slug}",
        v1.reference,
        release=v1.descriptor,
        tenant=tenant.tenant.slug,
        key=worker_key("another secret", tenant.tenant.slug).text,
        directory=v1.directory,
    )
    tenant.workers.append(worker)
    eventually(lambda: not worker.running, what="its end", seconds=60)
    assert worker.status == 2
    assert "error: WORKER_REFUSED: no coordinator accepts this worker: KEY_NOT_ACTIVE" in worker.log.read_text()
    [control] = [child for child in tenant.product.children.started if child.name == "control-worker"]
    refused = [line for line in control.log.read_text().splitlines() if worker.name in line]
    assert "Refused a heartbeat: KEY_NOT_ACTIVE" in refused[0]
    assert tenant.get("workers")["items"] == []


def test_a_worker_that_no_coordinator_answers_waits(
    own_broker: tuple[RunningProduct, Valkey], tmp_path: Path, name: str
) -> None:
    """Silence is not a refusal. The worker is accepted as soon as a coordinator runs."""
    running, _ = own_broker
    [control] = [child for child in running.product.children.started if child.name == "control-worker"]
    control.stop()
    tenant = running.tenant(name)
    release = build("pinned:pipeline", PIPELINES / "v1", tmp_path / "v1", "1.0")
    worker = tenant.product.start_worker(
        "early",
        release.reference,
        release=release.descriptor,
        tenant=name,
        key=worker_key(running.product.environment["WORKER_SECRET"], name).text,
        directory=release.directory,
    )
    try:
        eventually(lambda: "ready." in worker.log.read_text(), what="its start", seconds=60)
        running.product.start_control_worker("later")
        eventually(lambda: "Ordered to take commands" in worker.log.read_text(), what="its acceptance", seconds=60)
        assert worker.running
    finally:
        worker.stop()
