"""A client that repeats every request until it gets a response, as clients of a service that may fail must do."""

import time
from collections import Counter
from typing import Any

import requests

from tests.parts.recovery.cluster import TENANT, Cluster

REQUEST_TIMEOUT_SECONDS = 8.0
TOTAL_TIMEOUT_SECONDS = 180.0
PASSING = ("WORKER_REQUIRED", "PIPELINE_PAUSED")
"""Refusals that pass: no worker of the release runs at the moment, or the pipeline is paused."""


class Refused(Exception):
    """A repetition of the request cannot succeed."""


class RetryingClient:
    """Can be used by many threads. `failed_requests` counts the reasons for repetitions."""

    def __init__(self, cluster: Cluster) -> None:
        self._base = f"{cluster.product.url}/api/v1/tenants/{TENANT}/"
        self._headers = {"Authorization": f"Bearer {cluster.token}"}
        self.failed_requests: Counter[str] = Counter()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and body of the first successful response. Raises `Refused` for 4xx, or after the timeout."""
        url, deadline = self._base + path, time.monotonic() + TOTAL_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            try:
                response = requests.request(
                    method, url, json=body, headers=self._headers, timeout=REQUEST_TIMEOUT_SECONDS
                )
            except requests.RequestException as error:
                self.failed_requests[type(error).__name__] += 1
            else:
                if response.ok:
                    return response.status_code, response.json()
                if response.status_code < 500 and not any(code in response.text for code in PASSING):
                    raise Refused(f"{method} {path}: {response.status_code} {response.text}")
                self.failed_requests[str(response.status_code)] += 1
            time.sleep(0.1)
        raise Refused(f"{method} {path}: no response within {TOTAL_TIMEOUT_SECONDS:g} s")

    def submit(self, pipeline_id: str, value: Any, key: str) -> tuple[int, dict[str, Any]]:
        return self.call("POST", "executions", {"pipelineId": pipeline_id, "input": value, "idempotencyKey": key})

    def start_gradually(self, pipeline_id: str, version: str) -> str:
        """Give a share of the new executions to the candidate, and return the id of the gradual activation."""
        body = {
            "releaseVersion": version,
            "steps": [{"share": 50, "minimumSample": 1000, "minimumMinutes": 60}],
            # The strikes must not make it withdraw the candidate.
            "bounds": {"failurePercentagePoints": 100, "durationFactor": 100, "significance": 0.000001},
            "operationKey": f"start-{version}",
        }
        _, started = self.call("POST", f"pipelines/{pipeline_id}/gradual-activations", body)
        return str(started["gradualActivationId"])

    def promote(self, pipeline_id: str, gradual_id: str) -> None:
        path = f"pipelines/{pipeline_id}/gradual-activations/{gradual_id}/promotion"
        self.call("POST", path, {"reason": "it works", "operationKey": f"promote-{gradual_id}"})

    def pending(self) -> list[dict[str, Any]]:
        _, page = self.call("GET", "questions?status=pending&transport=interaction-api&pageSize=200")
        items: list[dict[str, Any]] = page["items"]
        return items

    def answer(self, question_id: str, response: Any) -> None:
        self.call("POST", "questions/answer", {"questionId": question_id, "response": response})
