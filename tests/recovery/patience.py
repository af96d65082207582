"""A client that repeats every request until it is answered, as whoever talks to a service that may die must."""

import threading
import time
from collections import Counter
from typing import Any

import requests

from tests.recovery.cluster import TENANT, Cluster

TIMEOUT_SECONDS = 8.0
LONGEST_SECONDS = 180.0


class Refused(Exception):
    """An answer that no repetition can better."""


class PatientClient:
    """Safe to use from many threads. `unanswered` counts why requests had to be repeated."""

    def __init__(self, cluster: Cluster) -> None:
        self._base = f"{cluster.product.url}/api/v1/tenants/{TENANT}/"
        self._headers = {"Authorization": f"Bearer {cluster.token}"}
        self._own = threading.local()
        self.unanswered: Counter[str] = Counter()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and body of the first answer that is one. Raises `Refused` for 4xx, or when patience ends."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = self._session.request(method, self._base + path, json=body, timeout=TIMEOUT_SECONDS)
            except requests.RequestException as error:
                self.unanswered[type(error).__name__] += 1
            else:
                if answer.ok:
                    return answer.status_code, answer.json()
                if answer.status_code < 500:
                    raise Refused(f"{method} {path}: {answer.status_code} {answer.text}")
                self.unanswered[_code(answer)] += 1
            time.sleep(0.1)
        raise Refused(f"{method} {path}: no answer in {LONGEST_SECONDS:g} s")

    def submit(self, pipeline_id: str, value: Any, key: str) -> tuple[int, dict[str, Any]]:
        return self.call("POST", "executions", {"pipelineId": pipeline_id, "input": value, "idempotencyKey": key})

    def activate(self, pipeline_id: str, version: str) -> None:
        body = {"releaseVersion": version, "operationKey": f"activate-{version}"}
        self.call("POST", f"pipelines/{pipeline_id}/activations", body)

    def pending(self) -> list[dict[str, Any]]:
        path = "interactions?status=pending&transport=interaction-api&pageSize=200"
        _, page = self.call("GET", path)
        found: list[dict[str, Any]] = page["items"]
        return found

    def answer(self, interaction_id: str, response: Any) -> None:
        self.call("POST", "interactions/complete", {"interactionId": interaction_id, "response": response})

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._own, "session"):
            self._own.session = requests.Session()
            self._own.session.headers.update(self._headers)
        session: requests.Session = self._own.session
        return session


def _code(answer: requests.Response) -> str:
    try:
        return f"{answer.status_code} {answer.json()['code']}"
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)
