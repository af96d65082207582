"""Releases on disk, and a server of files, for tests of both clients."""

import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.parts.clients.tpf_client.closure import CONTRACT

STEPS = ("Validate", "Pay")


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def contract(**changes: Any) -> dict[str, Any]:
    """Return a contract with two steps and the capabilities `local` and `rest`."""
    return {
        "schemaVersion": 1,
        "pipelineId": "org.example.orders",
        "contractVersion": f"sha256:{'c' * 64}",
        "steps": [{"index": index, "authoredName": name} for index, name in enumerate(STEPS)],
        "capabilities": {"localTransitionExecution": True, "transitionWorkerProtocols": ["rest"]},
        **changes,
    }


def archive(document: Any, **entries: str) -> bytes:
    """Return a ZIP archive with the contract and further entries."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        if document is not None:
            made.writestr(CONTRACT, json.dumps(document))
        for name, text in entries.items():
            made.writestr(name, text)
    return buffer.getvalue()


def artifact(data: bytes, uri: str, **changes: Any) -> dict[str, Any]:
    """Return a JAR that has all steps and capabilities, and carries the contract."""
    made = {"artifactId": "app", "kind": "jar", "uri": uri, "digest": digest_of(data)}
    return {**made, "stepIds": list(STEPS), "capabilities": ["local", "rest"], **changes}


def descriptor(*artifacts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a descriptor. Its first artifact carries the contract."""
    return {
        "schemaVersion": 1,
        "pipelineId": "org.example.orders",
        "contractVersion": f"sha256:{'c' * 64}",
        "releaseVersion": "1.0",
        "compiledTruthArtifactId": artifacts[0]["artifactId"] if artifacts else "app",
        "artifacts": list(artifacts),
        **changes,
    }


def stored(file: Path, data: bytes, **changes: Any) -> dict[str, Any]:
    """Write the file, and return the artifact that it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return artifact(data, file.as_uri(), **changes)


@dataclass(slots=True)
class FileServer:
    """Responds to GET requests with the bodies in `files`, by path. Others have status 404."""

    host: str
    files: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def file_server() -> Iterator[FileServer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.files.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = FileServer(f"127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join(10)
