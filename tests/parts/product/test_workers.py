"""Workers with real processes: free places, and drains across restarts."""

from pathlib import Path

import pytest

from tests.e2e.orders import ONCE, Orders
from tests.running import TenantInUse


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
