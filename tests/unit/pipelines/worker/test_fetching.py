"""A worker downloads its artifact. A small HTTP server replaces the coordinator and misbehaves on request."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DefinitionError
from pipelines.release.connection import Target
from pipelines.worker.fetching import fetched
from tests.cases import cases
from tests.unit.pipelines.small_servers import Recorder, Request, Response, serving

DATA = os.urandom(1_000_000)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
CHUNK = 16 * 1024


class Coordinator(Recorder):
    """Serves DATA. Each request takes the next of `faults`; without one, it gets the range that it asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[dict[str, Any]] = []

    def respond(self, request: Request) -> Response:
        fault = self.faults.pop(0) if self.faults else {}
        begin, shift = request.headers.get("Range", ""), fault.pop("shift", 0)
        start = int(begin[6:-1]) if begin and "status" not in fault else 0
        headers = {"Content-Range": f"bytes {start + shift}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
        headers.update(fault.pop("headers", {}))
        return Response(**{"status": 206 if start else 200, "body": DATA[start + shift :], "headers": headers, **fault})


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    made = Coordinator()
    with serving(made):
        yield made


def descriptor(folder: Path, *artifacts: dict[str, str], **members: str) -> Path:
    """Write a descriptor that pins DATA, or `artifacts`."""
    entry = {"artifactId": "app", "kind": "local-file", "uri": "app.zip", "digest": DIGEST}
    document = {
        "schemaVersion": 1,
        "pipelineId": "org.example.orders",
        "contractVersion": "c",
        "releaseVersion": "1.0",
        "artifacts": list(artifacts) or [entry],
    }
    path = folder / "pipeline-release.json"
    path.write_text(json.dumps(document | members))
    return path


def fetch(folder: Path, coordinator: Coordinator, *faults: dict[str, Any], patience: float = 20) -> bytes:
    coordinator.faults = list(faults)
    with fetched(descriptor(folder), Target(coordinator.url, "acme", "dc_secret"), patience=patience) as path:
        return path.read_bytes()


def refusal(folder: Path, coordinator: Coordinator, *faults: dict[str, Any]) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        fetch(folder, coordinator, *faults, patience=0.2)
    assert "dc_secret" not in str(caught.value)
    return caught.value


def test_the_artifact_is_downloaded_by_its_digest_with_the_token(coordinator: Coordinator, tmp_path: Path) -> None:
    """The file is private and exists only within the block. Of several artifacts, it is that of the carrier."""
    app = {"artifactId": "app", "kind": "application-archive", "uri": "maven:org.acme:app:zip:1.0", "digest": DIGEST}
    other = {"artifactId": "other", "kind": "jar", "uri": "maven:org.acme:other:1.0", "digest": f"sha256:{'1' * 64}"}
    release = descriptor(tmp_path, other, app, compiledTruthArtifactId="app")
    with fetched(release, Target(coordinator.url, "a/b", "dc_secret")) as path:
        assert path.read_bytes() == DATA
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
    [sent] = coordinator.requests
    assert sent.path == f"/api/v1/tenants/a%2Fb/artifacts/{DIGEST}"
    assert (sent.authorization, sent.headers["Accept-Encoding"]) == ("Bearer dc_secret", "identity")


def test_a_broken_download_continues_where_it_broke_off(coordinator: Coordinator, tmp_path: Path) -> None:
    assert fetch(tmp_path, coordinator, {"cut": 20 * CHUNK + 1}, {"status": 503}, {"cut": 10 * CHUNK}) == DATA
    ranges = [sent.headers.get("Range") for sent in coordinator.requests]
    assert ranges == [None, f"bytes={20 * CHUNK}-", f"bytes={20 * CHUNK}-", f"bytes={30 * CHUNK}-"]
    assert {sent.headers["If-Range"] for sent in coordinator.requests[1:]} == {f'"{DIGEST}"'}
    assert fetch(tmp_path, coordinator, {"cut": 300_000}, {"status": 200}) == DATA, "all bytes again"
    assert fetch(tmp_path, coordinator, {"headers": {"Content-Length": ""}}) == DATA, "a body without a length"


def test_other_bytes_than_the_descriptor_pins_are_refused(coordinator: Coordinator, tmp_path: Path) -> None:
    cut = {"headers": {"Content-Length": ""}, "cut": 300_000}
    other = {"body": DATA[:-1] + bytes([DATA[-1] ^ 1])}
    assert refusal(tmp_path, coordinator, cut).code == "ARTIFACT_MISMATCH"
    assert refusal(tmp_path, coordinator, other).code == "ARTIFACT_MISMATCH"
    assert refusal(tmp_path, coordinator, {"cut": 300_000}, {"shift": 1}).code == "COORDINATOR_REFUSED"


@cases("status", [403, 416, 307])
def test_a_refusal_is_final_and_shown(coordinator: Coordinator, tmp_path: Path, status: int) -> None:
    problem = json.dumps({"code": "ARTIFACT_UNKNOWN", "detail": "There is none."}).encode()
    coordinator.requests.clear()
    fault = {"status": status, "body": problem, "headers": {"Location": f"{coordinator.url}/elsewhere"}}
    found = refusal(tmp_path, coordinator, fault)
    assert str(found) == f"COORDINATOR_REFUSED: {status} ARTIFACT_UNKNOWN There is none."
    assert len(coordinator.requests) == 1
