"""Branches, a conditional await and a choice on the real product, with a worker that is killed in the middle."""

import threading
from collections import Counter
from pathlib import Path
from uuid import UUID

from executions.models import ItemGroup
from tests.e2e.orders import PIPELINES
from tests.http_server import HttpServer, Request, head
from tests.running import TenantInUse, build, eventually


class Service(HttpServer):
    """Counts calls by path. A delivery is answered once it is free."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.is_free = threading.Event()

    def respond(self, request: Request) -> None:
        self.calls[request.path] += 1
        if request.path == "/delivery":
            self.is_free.wait(60)
        head(request, 200, {"Content-Length": "3"})
        request.wfile.write(b"700")


def test_a_finished_branch_does_not_run_again_after_its_worker_was_killed(tenant: TenantInUse, tmp_path: Path) -> None:
    release = build("branches:pipeline", PIPELINES / "branches", tmp_path / "1.0", "1.0")
    first = tenant.host(release, "first")
    with Service().running() as service:
        small, large = (
            str(tenant.eventually_accepted("tests.branches", value, str(value["number"]))["executionId"])
            for value in ({"number": number, "service": service.origin} for number in (1, 2))
        )
        both = {UUID(small), UUID(large)}
        stored = ItemGroup.objects.filter(execution_id__in=both).values_list("execution_id", flat=True)
        eventually(lambda: set(stored.all()) == both, what="a stored branch of each")
        first.kill()
        service.is_free.set()
        tenant.start_worker(release, "second")
        tenant.wait_for(small, "SUCCEEDED", seconds=90)
        tenant.wait_for(large, "WAITING_EXTERNAL")
        assert service.calls == {"/price": 2, "/delivery": 4}
    [question] = tenant.get("questions")["items"]
    assert (question["executionId"], question["request"]) == (large, 1400)
    tenant.post("questions/answer", questionId=question["questionId"], response=True)
    tenant.wait_for(large, "SUCCEEDED")
    assert [tenant.result(execution_id) for execution_id in (small, large)] == ["small: 700", "large: 1400"]
