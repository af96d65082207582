"""A client and a worker of one version of `/tpf`. Both refuse members that their version lacks."""

import json
from dataclasses import dataclass
from typing import Any

import requests

from embedded.product import Product
from tests.executions.transports.rest.strict_worker import DTO, NUMBERS, TEXTS, StrictWorker, require
from tests.interop.client import DECISION, DECISION_TYPE, payload
from tests.interop.stored import message, unread, with_values
from tests.running import TPF_ADMIN_TOKEN, TPF_CONTROL_TOKEN, eventually

PIPELINE = "org.pipelineframework.restaurantapproval"
ORDER = {"requestId": "r1", "customerId": "c1", "amount": 27.5}
RESULTS = {"COMPLETED": "result-completed", "WAITING_EXTERNAL": "result-waiting", "FAILED": "result-failed"}


@dataclass
class ExistingClient:
    """A client of `/tpf`, which uses only HTTP, files and the log."""

    product: Product
    tenant: str
    pipeline: str = PIPELINE
    version: str = "november"

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Call `admin/…` or `control-plane/…`, with `{t}` for the tenant and `{p}` for its pipeline."""
        token = TPF_ADMIN_TOKEN if path.startswith("admin") else TPF_CONTROL_TOKEN
        tenant = f"tenants/{self.tenant}"
        url = f"{self.product.url}/tpf/{path.format(t=tenant, p=f'{tenant}/pipelines/{self.pipeline}')}"
        return requests.request(method, url, json=body, headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def ok(self, method: str, path: str, answer: str, body: Any = None) -> Any:
        """Return the response, read as the version reads the stored `answer`."""
        response = self.call(method, path, body)
        assert response.status_code == 200, (path, response.status_code, response.text)
        content = response.json()
        refused = unread(self.version, f"answer-{answer}", content)
        assert not refused, (path, refused)
        return content

    def request(self, name: str, **values: Any) -> Any:
        return message(self.version, f"request-{name}", **values)

    def register_worker(self, contract: str, release: str, endpoint: str, worker_id: str = "java-1") -> None:
        pin = {"contractVersion": contract, "releaseVersion": release}
        body = self.request("register-worker", workerId=worker_id, endpoint=endpoint, **pin)
        assert self.ok("POST", "admin/{p}/workers/register", "worker", body)["state"] == "HEALTHY"
        assert self.ok("POST", f"admin/{{p}}/workers/{worker_id}/heartbeat", "worker")["state"] == "HEALTHY"

    def submission(self, key: str, order: Any = ORDER, type_id: str = DTO + "PlaceRestaurantOrderRequestDto") -> Any:
        sent = payload(type_id, order)
        return self.request("submit", pipelineId=self.pipeline, inputPayload=sent, idempotencyKey=key)

    def submit(self, key: str, *order: Any) -> str:
        body = self.submission(key, *order)
        return str(self.ok("POST", "control-plane/{t}/executions", "accepted", body)["executionId"])

    def wait_for(self, execution_id: str, *states: str, seconds: float = 40) -> Any:
        def reached() -> Any:
            status = self.ok("GET", f"control-plane/{{t}}/executions/{execution_id}", "status")
            return status if status["status"] in states else None

        return eventually(reached, seconds=seconds, what=f"{execution_id} in {states}")

    def interaction(self, execution_id: str) -> Any:
        def found() -> Any:
            pending = self.ok("GET", "control-plane/{t}/interactions/pending?limit=1000", "pending")
            return next((row for row in pending if row["executionId"] == execution_id), None)

        return eventually(found, what="the interaction")

    def complete(self, interaction: Any, response: dict[str, str]) -> Any:
        named = {"interactionId": interaction["interactionId"], "actor": "restaurant"}
        body = self.request("complete", responsePayload=response, **named)
        return self.ok("POST", "control-plane/{t}/interactions/complete", "completed", body)

    def decide(self, execution_id: str, decision: Any = None) -> Any:
        return self.complete(self.interaction(execution_id), payload(DECISION_TYPE, decision or DECISION))

    def result(self, execution_id: str) -> Any:
        return self.ok("GET", f"control-plane/{{t}}/executions/{execution_id}/result", "result")["resultPayload"]


@dataclass
class VersionedWorker(StrictWorker):
    """The strict worker with the messages of a version. That of November also has a member of a later version."""

    version: str = "november"

    def parse(self, body: bytes) -> dict[str, Any]:
        command = json.loads(body)
        require(unread(self.version, "command", command) == [], "unknown members")
        super().parse(json.dumps({name: command[name] for name in TEXTS | NUMBERS}).encode())
        return dict(command)

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        made = super().run(command)
        later: dict[str, Any] = {"laterMember": {}} if self.version == "november" else {}
        return {**with_values(message(self.version, RESULTS[made["outcome"]]), made), **later}
