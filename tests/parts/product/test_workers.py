"""Workers with real processes: free places, drains across restarts, cancelled steps, and a late coordinator."""

from pathlib import Path

import pytest

from embedded.valkey import Valkey
from tests.e2e.orders import ONCE, Orders
from tests.running import BuiltRelease, RunningProduct, TenantInUse, eventually
from wire.worker_keys import worker_key


@pytest.fixture
def orders(tenant: TenantInUse, tmp_path: Path) -> Orders:
    return Orders(tenant, tmp_path)


def test_a_command_is_received_by_a_worker_with_a_free_place(orders: Orders) -> None:
    """It does not wait at a busy worker, which would not renew its lease."""
    busy = [orders.submit(waits=True) for _ in range(2)]
    orders.wait_until("first", holding=2)
    orders.tenant.start_worker(orders.releases["1.0"], "other")
    busy += [orders.submit(waits=True) for _ in range(2)]
    orders.wait_until("other", holding=2)
    assert orders.worker("first")["holding"] == 2
    for each in busy:
        orders.open(each)
        orders.receipt(each)
        assert orders.kinds(each) == ONCE


def test_a_drained_worker_gets_no_commands_after_a_restart(orders: Orders) -> None:
    orders.tenant.start_worker(orders.releases["1.0"], "other")
    orders.request("drain", "first")
    orders.wait_until("first", taking=False)
    orders.first.kill()
    orders.first = orders.tenant.start_worker(orders.releases["1.0"], "first", "DRAINING")
    orders.wait_for_heartbeat("first")
    assert orders.run_by() == {"other"}
    assert orders.worker("first")["state"] == "DRAINING"


def test_instructions_that_the_broker_lost_are_sent_again(
    own_broker: tuple[RunningProduct, Valkey], tmp_path: Path, name: str
) -> None:
    """The broker is killed before the instruction is sent and restarts empty. The next heartbeat causes a new one."""
    running, valkey = own_broker
    orders = Orders(running.tenant(name), tmp_path)
    try:
        orders.tenant.start_worker(orders.releases["1.0"], "other")
        for change, taking, expected in (("drain", False, "other"), ("undrain", True, "first")):
            valkey.kill()
            orders.request(change, "first")
            valkey.remove_data()
            valkey.start()
            orders.wait_until("first", taking=taking)
            if taking:
                orders.request("drain", "other")
                orders.wait_until("other", taking=False)
            assert orders.run_by(seconds=90) == {expected}
    finally:
        orders.tenant.stop_workers()


def test_a_thread_with_a_cancelled_step_gets_no_work_and_waiting_executions_are_not_running(orders: Orders) -> None:
    cancelled, other = orders.begun(), orders.begun()
    orders.post(f"executions/{cancelled}/cancel", reason="a mistake")
    waiting = orders.submit()
    orders.wait_until("first", abandoned=1, running=1, capacity=2)
    # A command that was sent before this report was returned to the queue or waits in the broker.
    orders.tenant.wait_for(waiting, "QUEUED")
    assert orders.tenant.execution(waiting)["runningSince"] is None
    assert orders.worker("first")["holding"] == 2
    for each in (cancelled, other):
        orders.open(each)
    for each in (waiting, other):
        orders.receipt(each)
    orders.wait_until("first", abandoned=0, holding=0)
    assert orders.kinds(cancelled) == ["SUBMITTED", "CLAIMED", "CANCELLED", "OUTCOME_DROPPED"]


def test_a_worker_without_a_response_from_a_coordinator_waits(
    own_broker: tuple[RunningProduct, Valkey], v1: BuiltRelease, name: str
) -> None:
    """A missing response is not a rejection. The worker is accepted as soon as a coordinator runs."""
    running, _ = own_broker
    [control] = [child for child in running.product.children.started if child.name == "control-worker"]
    control.stop()
    running.tenant(name)
    key = worker_key(running.product.environment["WORKER_SECRET"], name).text
    worker = running.product.start_worker("early", release=v1.descriptor, tenant=name, key=key)
    try:
        eventually(lambda: "ready." in worker.log.read_text(), what="its start", seconds=60)
        running.product.start_control_worker("later")
        eventually(lambda: "Instructed to accept commands" in worker.log.read_text(), what="its acceptance", seconds=60)
        assert worker.running
    finally:
        worker.stop()
