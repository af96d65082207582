"""A client of the REST API, for the demo and the tests."""

import time
from pathlib import Path
from typing import Any

from coordinator_client import api
from pipelines.release import publish

TIMEOUT_SECONDS = 60.0


class DemoError(Exception):
    """A step of the demo failed."""


class Client:
    """Calls the REST API of one tenant. Raises `ClientError`, and `DemoError` if something does not happen in time."""

    def __init__(self, url: str, tenant: str, token: str) -> None:
        self._api = api.Client(api.Connection(url, tenant, token, seconds=TIMEOUT_SECONDS))

    def upload(self, pipeline_id: str, descriptor: Path, artifact: Path) -> dict[str, Any]:
        files = [("descriptor", descriptor), ("artifact", artifact)]
        body, content_type = publish.multipart(files, lambda _sent, _total: None)
        return self._api.upload(f"pipelines/{pipeline_id}/releases", body, content_type)

    def verified(self, pipeline_id: str, version: str, *, seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        return self._until(f"pipelines/{pipeline_id}/releases/{version}", {"REGISTERED", "REJECTED"}, seconds)

    def activate(self, pipeline_id: str, version: str, reason: str) -> dict[str, Any]:
        return publish.activate(self._api, pipeline_id, version, reason)

    def wait_for_worker(self, worker_id: str) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            workers = self._api.get("workers")["items"]
            if any(worker["workerId"] == worker_id and worker["state"] == "HEALTHY" for worker in workers):
                return
            time.sleep(0.1)
        raise DemoError(f"Worker {worker_id} did not register.")

    def submit(self, pipeline_id: str, value: Any, key: str) -> dict[str, Any]:
        body = {"pipelineId": pipeline_id, "input": value, "idempotencyKey": key}
        return self._api.call(api.Request("POST", "executions", body=body))

    def execution(self, execution_id: str) -> dict[str, Any]:
        return self._api.get(f"executions/{execution_id}")

    def finished(self, execution_id: str) -> dict[str, Any]:
        """Return the execution when it has succeeded. Raises `DemoError` if it ends otherwise."""
        ended = self._until(f"executions/{execution_id}", set(api.ENDED))
        if ended["status"] != "SUCCEEDED":
            raise DemoError(f"Execution {execution_id} is {ended['status']}: {ended['error']}")
        return ended

    def result(self, execution_id: str) -> Any:
        return self._api.get(f"executions/{execution_id}/result")["result"]

    def worker_of(self, execution_id: str) -> str:
        """Return the id of the worker that reported the last outcome."""
        events = self._api.get(f"executions/{execution_id}/events")["items"]
        return str(events[-1]["actor"]).removeprefix("worker:")

    def _until(self, path: str, states: set[str], seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            answer = self._api.get(path)
            if answer["status"] in states:
                return answer
            time.sleep(0.05)
        raise DemoError(f"{path} did not reach {' or '.join(sorted(states))}.")
