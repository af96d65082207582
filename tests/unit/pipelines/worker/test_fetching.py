"""A worker downloads its artifact. A small HTTP server replaces the coordinator and misbehaves on request."""

import hashlib
import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DefinitionError
from pipelines.release.connection import Target
from pipelines.worker.fetching import PATIENCE_SECONDS, fetched
from tests.cases import cases
from tests.unit.pipelines.small_servers import Quiet, SmallServer, serving

DATA = os.urandom(1_000_000)
DIGEST = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
PATIENCE = 0.2
CHUNK = 16 * 1024


class Coordinator(SmallServer):
    """Serves DATA. Each request takes the next of `faults`; without one, it gets the range that it asks for."""

    def __init__(self) -> None:
        self.faults: list[dict[str, Any]] = []
        self.requests: list[dict[str, str]] = []
        self.paths: list[str] = []
        coordinator = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                coordinator.requests.append(dict(self.headers))
                coordinator.paths.append(self.path)
                self.respond(**(coordinator.faults.pop(0) if coordinator.faults else {}))

            def respond(
                self,
                status: int = 0,
                data: bytes = DATA,
                cut: int | None = None,
                shift: int = 0,
                location: str = "",
                length: bool = True,
            ) -> None:
                """Send `cut` bytes of the range that begins `shift` bytes late, and close the connection."""
                begin = self.headers.get("Range", "")
                start = int(begin[6:-1]) if begin and status in (0, 206) else 0
                self.send_response(status or (206 if start else 200))
                if start:
                    self.send_header("Content-Range", f"bytes {start + shift}-{len(data) - 1}/{len(data)}")
                if location:
                    self.send_header("Location", location)
                body = data[start + shift :]
                if length:
                    self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body[:cut])

        self.listen(Handler)


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    made = Coordinator()
    with serving(made):
        yield made


def descriptor(folder: Path, *artifacts: dict[str, str]) -> Path:
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
    path.write_text(json.dumps(document))
    return path


def fetch(folder: Path, coordinator: Coordinator, tenant: str = "acme", patience: float = PATIENCE_SECONDS) -> bytes:
    target = Target(coordinator.url, tenant, "dc_secret")
    with fetched(descriptor(folder), target, patience=patience) as path:
        return path.read_bytes()


def refusal(folder: Path, coordinator: Coordinator) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        fetch(folder, coordinator, patience=PATIENCE)
    assert "dc_secret" not in str(caught.value)
    return caught.value


def test_the_artifact_is_downloaded_by_its_digest_with_the_token(coordinator: Coordinator, tmp_path: Path) -> None:
    """The file is private and exists only within the block."""
    with fetched(descriptor(tmp_path), Target(coordinator.url, "a/b", "dc_secret")) as path:
        assert path.read_bytes() == DATA
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
    assert coordinator.paths == [f"/api/v1/tenants/a%2Fb/artifacts/{DIGEST}"]
    [sent] = coordinator.requests
    assert (sent["Authorization"], sent["Accept-Encoding"]) == ("Bearer dc_secret", "identity")
    assert "Range" not in sent


def test_a_broken_download_continues_where_it_broke_off(coordinator: Coordinator, tmp_path: Path) -> None:
    coordinator.faults = [{"cut": 20 * CHUNK + 1}, {"status": 503}, {"cut": 10 * CHUNK}]
    assert fetch(tmp_path, coordinator) == DATA
    ranges = [sent.get("Range") for sent in coordinator.requests]
    assert ranges == [None, f"bytes={20 * CHUNK}-", f"bytes={20 * CHUNK}-", f"bytes={30 * CHUNK}-"]
    assert {sent["If-Range"] for sent in coordinator.requests[1:]} == {f'"{DIGEST}"'}
    for faults in ([{"cut": 300_000}, {"status": 200}], [{"length": False}]):
        coordinator.faults = faults
        assert fetch(tmp_path, coordinator) == DATA, "all bytes again, and a body without a length"


@cases(
    ("faults", "code"),
    [
        ([{"length": False, "cut": 300_000}], "ARTIFACT_MISMATCH"),
        ([{"data": DATA[:-1] + bytes([DATA[-1] ^ 1])}], "ARTIFACT_MISMATCH"),
        ([{"cut": 300_000}, {"shift": 1}], "COORDINATOR_REFUSED"),
    ],
)
def test_other_bytes_than_the_descriptor_pins_are_refused(
    coordinator: Coordinator, tmp_path: Path, faults: list[dict[str, Any]], code: str
) -> None:
    coordinator.faults = faults
    found = refusal(tmp_path, coordinator)
    assert (found.code, DIGEST in str(found)) == (code, code == "ARTIFACT_MISMATCH")


@cases("status", [403, 416, 307])
def test_a_refusal_is_final_and_shown(coordinator: Coordinator, tmp_path: Path, status: int) -> None:
    problem = json.dumps({"code": "ARTIFACT_UNKNOWN", "detail": "There is none."}).encode()
    coordinator.requests.clear()
    coordinator.faults = [{"status": status, "data": problem, "location": f"{coordinator.url}/elsewhere"}]
    found = refusal(tmp_path, coordinator)
    assert str(found) == f"COORDINATOR_REFUSED: {status} ARTIFACT_UNKNOWN There is none."
    assert len(coordinator.requests) == 1


IMAGE = {"artifactId": "i", "kind": "container-image", "uri": f"r.example/i@{DIGEST}", "digest": DIGEST}


def test_it_needs_a_coordinator_and_an_artifact_with_code(tmp_path: Path) -> None:
    nowhere = Target("http://127.0.0.1:1", "acme", "dc_secret")
    for artifacts, code in (([], "COORDINATOR_UNREACHABLE"), ([IMAGE], "NO_ARTIFACT")):
        with (
            pytest.raises(DefinitionError, match=code),
            fetched(descriptor(tmp_path, *artifacts), nowhere, patience=PATIENCE),
        ):
            pass


def test_the_carrier_is_downloaded(coordinator: Coordinator, tmp_path: Path) -> None:
    app = {"artifactId": "app", "kind": "application-archive", "uri": "maven:org.acme:app:zip:1.0", "digest": DIGEST}
    other = {"artifactId": "other", "kind": "jar", "uri": "maven:org.acme:other:1.0", "digest": f"sha256:{'1' * 64}"}
    file = descriptor(tmp_path, other, app)
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "compiledTruthArtifactId": "app"}))
    with fetched(file, Target(coordinator.url, "acme", "dc_secret")) as path:
        assert path.read_bytes() == DATA
