"""Many items at a flaky service, and a worker that is killed in the middle."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.models import ItemGroup
from tests.e2e.orders import PIPELINES
from tests.http_server import HttpServer, Request, head
from tests.running import TenantInUse, build, eventually

ITEMS = 10_000


class Service(HttpServer):
    """Fails at the first call for each hundredth item. Counts calls and receipts by item."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[int] = Counter()
        self.receipts: Counter[int] = Counter()
        self._lock = threading.Lock()

    def respond(self, request: Request) -> None:
        item = int(request.path[1:])
        with self._lock:
            self.calls[item] += 1
            fails = item % 100 == 7 and self.calls[item] == 1
            self.receipts[item] += not fails
        answer = b"" if fails else f"receipt {item}".encode()
        head(request, 503 if fails else 200, {"Content-Length": str(len(answer))})
        request.wfile.write(answer)


@pytest.fixture
def service() -> Iterator[Service]:
    with Service().running() as service:
        yield service


def test_ten_thousand_items_finish_in_order_although_the_service_is_flaky_and_the_worker_is_killed(
    tenant: TenantInUse, service: Service, tmp_path: Path
) -> None:
    release = build("items:pipeline", PIPELINES / "items", tmp_path / "1.0", "1.0")
    first = tenant.host(release, "first")
    value = {"size": ITEMS, "service": service.origin}
    execution_id = tenant.eventually_accepted("tests.items", value, "all")["executionId"]
    eventually(lambda: sum(service.receipts.values()) > ITEMS // 2, what="half of the items", seconds=120)
    progress = tenant.execution(execution_id)["itemProgress"]
    assert (progress["stepIndex"], progress["total"], progress["failed"]) == (1, ITEMS, 0)
    assert 0 < progress["done"] < ITEMS
    first.kill()
    stored = {item for group in ItemGroup.objects.filter(execution=execution_id) for item in group.items}
    assert len(stored) >= progress["done"]
    tenant.start_worker(release, "second")
    tenant.wait_for(execution_id, "SUCCEEDED", seconds=180)
    assert tenant.result(execution_id) == {"count": ITEMS, "in_order": True}
    assert {item for item, count in service.receipts.items() if count > 1} & stored == set()
    again = sum(count - 1 for count in service.receipts.values())
    print(f"{len(stored)} items were stored at the kill, {again} ran again")
    assert (len(service.receipts), max(service.receipts.values()) <= 2) == (ITEMS, True)
    assert again < ITEMS // 4
