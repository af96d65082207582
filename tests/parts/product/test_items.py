"""Many items at a service that refuses some of them, while the processes of the product are killed."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from executions.models import ItemGroup
from tests.http_server import HttpServer, Request, head
from tests.parts.product.conftest import PIPELINES
from tests.running import RunningProduct, TenantInUse, build, eventually

ITEMS, REFUSED = 10_000, 100
SECONDS = 120


class Service(HttpServer):
    """Refuses each hundredth item until it recovers. Counts receipts by item."""

    def __init__(self) -> None:
        super().__init__()
        self.refuses = True
        self.receipts: Counter[int] = Counter()
        self._lock = threading.Lock()

    def respond(self, request: Request) -> None:
        item = int(request.path[1:])
        fails = self.refuses and item % 100 == 7
        with self._lock:
            self.receipts[item] += not fails
        answer = b"" if fails else f"receipt {item}".encode()
        head(request, 503 if fails else 200, {"Content-Length": str(len(answer))})
        request.wfile.write(answer)


@pytest.fixture
def service() -> Iterator[Service]:
    with Service().running() as service:
        yield service


def stored(execution_id: str) -> set[int]:
    return {item for group in ItemGroup.objects.filter(execution_id=uuid.UUID(execution_id)) for item in group.items}


def test_finished_items_never_run_again_although_processes_are_killed_and_the_failed_ones_run_alone(
    running: RunningProduct, tenant: TenantInUse, service: Service, tmp_path: Path
) -> None:
    begun = time.monotonic()
    release = build("items:pipeline", PIPELINES / "items", tmp_path / "1.0", "1.0")
    worker = tenant.host(release, "w0")
    value = {"size": ITEMS, "service": service.origin}
    execution_id = tenant.eventually_accepted("tests.items", value, "all")["executionId"]
    kept: dict[int, int] = {}  # how often the items ran that were stored at a kill
    for kill, part in enumerate((0.2, 0.4, 0.6), start=1):
        wanted = ITEMS * part
        eventually(lambda: len(stored(execution_id)) > wanted, what=f"{part} of the items", seconds=60)  # noqa: B023 - it is called at once
        if kill == 2:
            running.kill("control-worker")
            running.restore()
            continue
        worker.kill()
        kept |= {item: service.receipts[item] for item in stored(execution_id)}
        worker = tenant.start_worker(release, f"w{kill}")
    tenant.wait_for(execution_id, "SUCCEEDED", seconds=SECONDS)
    count = ITEMS - REFUSED
    assert tenant.result(execution_id) == {"count": count, "refused": REFUSED, "in_order": True}
    assert len(kept) > ITEMS / 2
    assert {item: service.receipts[item] for item in kept} == kept, "what was stored ran again"
    assert sum(service.receipts.values()) - count < ITEMS // 4
    [failed] = tenant.get(f"executions/{execution_id}/failed-items")["steps"]
    refused = [item for item in range(ITEMS) if item % 100 == 7]
    assert (failed["stepIndex"], failed["failed"], [each["index"] for each in failed["items"]]) == (1, REFUSED, refused)
    assert {(each["item"]["number"], each["tries"]) for each in failed["items"]} == {(item, 3) for item in refused}
    service.refuses = False
    before = service.receipts.copy()
    again = tenant.post(f"executions/{execution_id}/resubmit", 202, **{"from": "items"})["executionId"]
    tenant.wait_for(again, "SUCCEEDED", seconds=30)
    assert tenant.result(again) == {"count": REFUSED, "refused": 0, "in_order": True}
    assert service.receipts - before == Counter(refused)
    assert time.monotonic() - begun < SECONDS
