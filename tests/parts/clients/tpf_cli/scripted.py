"""Releases on disk, and a server with scripted responses, to try the command line with."""

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

from tests.parts.clients.tpf_cli.closure import CONTRACT

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


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class ScriptedServer:
    """Responds to every request with `status`, `headers` and `body`, but not while `gate` is closed."""

    status: int = 201
    body: bytes = b'{"deploymentId": "d-1", "status": "REGISTERED"}'
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    files: dict[str, bytes] = field(default_factory=dict)
    """The bodies of GET requests, by path. Others have status 404."""
    requests: list[Request] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    host: str = ""


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    scripted.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.requests.append(Request(self.command, self.path, dict(self.headers), body))
            scripted.gate.wait(120)
            self._respond(scripted.status, scripted.headers, scripted.body)

        def do_GET(self) -> None:
            found = scripted.files.get(self.path)
            self._respond(404 if found is None else 200, {}, found or b"")

        def _respond(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scripted.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        scripted.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
