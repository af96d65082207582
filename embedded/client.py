"""A client of the REST API for the demo: registers releases and submits executions."""

import time
from pathlib import Path
from typing import Any

import requests

TIMEOUT_SECONDS = 60.0


class DemoError(Exception):
    """A step of the demo failed."""


class Client:
    """Calls the REST API of one tenant. Raises `DemoError` for any unexpected response."""

    def __init__(self, url: str, tenant: str, token: str) -> None:
        self._base = f"{url}/api/v1/tenants/{tenant}/"
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {token}"

    def upload(self, pipeline_id: str, descriptor: Path, artifact: Path) -> dict[str, Any]:
        with descriptor.open("rb") as document, artifact.open("rb") as data:
            files: dict[str, Any] = {"descriptor": document, "artifact": (artifact.name, data)}
            return self._call("POST", f"pipelines/{pipeline_id}/releases", 202, files=files)

    def verified(self, pipeline_id: str, version: str, *, seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """Return the release when its verification has ended."""
        return self._until(f"pipelines/{pipeline_id}/releases/{version}", {"REGISTERED", "REJECTED"}, seconds)

    def activate(self, pipeline_id: str, version: str, reason: str) -> dict[str, Any]:
        body = {"releaseVersion": version, "reason": reason}
        return self._call("POST", f"pipelines/{pipeline_id}/activations", 201, json=body)

    def wait_for_worker(self, worker_id: str) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            workers = self._call("GET", "workers", 200)["items"]
            if any(worker["workerId"] == worker_id and worker["state"] == "HEALTHY" for worker in workers):
                return
            time.sleep(0.1)
        raise DemoError(f"Worker {worker_id} did not register.")

    def submit(self, pipeline_id: str, value: Any, key: str) -> dict[str, Any]:
        body = {"pipelineId": pipeline_id, "input": value, "idempotencyKey": key}
        return self._call("POST", "executions", 202, json=body)

    def execution(self, execution_id: str) -> dict[str, Any]:
        return self._call("GET", f"executions/{execution_id}", 200)

    def finished(self, execution_id: str) -> dict[str, Any]:
        """Return the execution when it has succeeded. Raises `DemoError` if it ends otherwise."""
        ended = self._until(f"executions/{execution_id}", {"SUCCEEDED", "FAILED", "DLQ"})
        if ended["status"] != "SUCCEEDED":
            raise DemoError(f"Execution {execution_id} is {ended['status']}: {ended['error']}")
        return ended

    def result(self, execution_id: str) -> Any:
        return self._call("GET", f"executions/{execution_id}/result", 200)["result"]

    def worker_of(self, execution_id: str) -> str:
        """Return the id of the worker that reported the last outcome."""
        events = self._call("GET", f"executions/{execution_id}/events", 200)["items"]
        return str(events[-1]["actor"]).removeprefix("worker:")

    def _until(self, path: str, states: set[str], seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self._call("GET", path, 200)
            if found["status"] in states:
                return found
            time.sleep(0.05)
        raise DemoError(f"{path} did not reach {' or '.join(sorted(states))}.")

    def _call(self, method: str, path: str, expected: int, **body: Any) -> dict[str, Any]:
        response = self._http.request(method, self._base + path, timeout=TIMEOUT_SECONDS, **body)
        if response.status_code != expected:
            raise DemoError(f"{method} {path} returned {response.status_code}: {response.text}")
        found: dict[str, Any] = response.json()
        return found
