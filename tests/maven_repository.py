import base64
import hashlib
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from releases.registration.maven_repositories import Repository
from tests.http_server import HttpServer, Request, head, send
from wire.documents.artifact_uri import MavenUri, parse_artifact_uri

PIECE = 64 * 1024
CHECKSUMS = ("sha256", "sha1")


class Fault(Enum):
    """What goes wrong with an artifact. Checksum files are always sent unharmed."""

    SILENT = auto()
    """There is no response."""
    STALLED = auto()
    """The second half of the body never arrives."""
    SLOW = auto()
    """The body arrives byte by byte."""
    CUT_OFF = auto()
    """The connection ends after half of the body."""
    CUT_OFF_UNDECLARED = auto()
    """The same, and nothing declares the length of the body."""
    SHORT_LENGTH = auto()
    """The declared length is that of the first half."""
    DAMAGED = auto()
    """One byte is wrong."""
    ENDLESS = auto()
    """The body never ends, and nothing declares its length."""


class MavenRepository(HttpServer):
    """A repository at `url`.

    If `credentials` is set, it is the only accepted Authorization header. `status` and `fault` apply to artifacts, and
    `checksum_status` to checksum files. If `gate` is set, artifacts are sent when it opens. If `location` is set, every
    request is redirected to that URL followed by its path. `requests` has the path and the Authorization header of each
    request.
    """

    def __init__(self, folder: Path, certificate: Path | None = None) -> None:
        super().__init__(certificate)
        self.url = self.origin
        self.folder = folder
        self.credentials: str | None = None
        self.status: int | None = None
        self.checksum_status: int | None = None
        self.location: str | None = None
        self.fault: Fault | None = None
        self.gate: threading.Event | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.over = threading.Event()

    def release(self) -> None:
        self.over.set()

    def publish(self, uri: MavenUri | str, data: bytes, *, checksums: Iterable[str] = CHECKSUMS) -> str:
        """Store an artifact with its checksum files. Return its digest."""
        path = self.file(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        for algorithm in checksums:
            self.write_checksum(uri, algorithm, hashlib.new(algorithm, data).hexdigest())
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def write_checksum(self, uri: MavenUri | str, algorithm: str, text: str) -> None:
        path = self.file(uri)
        path.with_name(f"{path.name}.{algorithm}").write_text(text)

    def file(self, uri: MavenUri | str) -> Path:
        parsed = parse_artifact_uri(uri) if isinstance(uri, str) else uri
        assert isinstance(parsed, MavenUri)
        return self.folder / parsed.path

    def entry(self, name: str = "acme-releases", **members: Any) -> Repository:
        """Return this repository, with the id `name`, as one that serves the group `com.acme` and those below it."""
        return Repository(**{"id": name, "url": self.url, "groups": ("com.acme.*",), **members})

    def configure(self, settings: Any, **members: Any) -> None:
        use_repositories(settings, self.entry(**members))

    def toml(self, name: str = "acme-releases") -> str:
        """Return the value of MAVEN_REPOSITORIES for this repository, for processes of the product."""
        members = {"id": name, "url": self.url, "groups": ["com.acme.*"], "plain-http": True}
        return "\n".join(["[[repositories]]", *(f"{key} = {json.dumps(value)}" for key, value in members.items())])

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    def require(self, credentials: str) -> None:
        encoded = base64.b64encode(credentials.encode()).decode()
        self.credentials = credentials if credentials.startswith("Bearer ") else f"Basic {encoded}"

    def respond(self, request: Request) -> None:
        authorization = request.headers.get("Authorization")
        self.requests.append((request.path, authorization))
        path = urlsplit(request.path).path
        is_checksum = path.endswith(tuple(f".{algorithm}" for algorithm in CHECKSUMS))
        status = self.checksum_status if is_checksum else self.status
        fault = None if is_checksum else self.fault
        file = self.folder / path.removeprefix("/")
        if self.location is not None:
            send(request, status or 302, {"Location": f"{self.location}{request.path}"})
        elif self.credentials not in (None, authorization):
            send(request, 401, {"WWW-Authenticate": "Basic"})
        elif status is not None or not file.is_file():
            send(request, status or 404, {})
        elif fault is not None:
            self._send_badly(request, file.read_bytes(), fault)
        else:
            if self.gate is not None and not is_checksum:
                self.gate.wait(60)
            head(request, 200, {"Content-Length": str(file.stat().st_size)})
            with file.open("rb") as source:
                shutil.copyfileobj(source, request.wfile, PIECE)

    def _send_badly(self, request: Request, data: bytes, fault: Fault) -> None:
        half = data[: len(data) // 2]
        length = {"Content-Length": str(len(half if fault is Fault.SHORT_LENGTH else data))}
        if fault in (Fault.ENDLESS, Fault.CUT_OFF_UNDECLARED):
            length = {}
        if fault is not Fault.SILENT:
            head(request, 200, length)
        match fault:
            case Fault.SILENT:
                self.over.wait(60)
            case Fault.STALLED:
                request.wfile.write(half)
                self.over.wait(60)
            case Fault.SLOW:
                for at in range(len(data)):
                    request.wfile.write(data[at : at + 1])
                    self.over.wait(0.05)
            case Fault.CUT_OFF | Fault.CUT_OFF_UNDECLARED | Fault.SHORT_LENGTH:
                request.wfile.write(half)
            case Fault.DAMAGED:
                request.wfile.write(half + bytes([data[len(half)] ^ 1]) + data[len(half) + 1 :])
            case Fault.ENDLESS:
                until = time.monotonic() + 60
                while time.monotonic() < until and not self.over.is_set():
                    request.wfile.write(bytes(PIECE))


def use_repositories(settings: Any, *repositories: Repository) -> None:
    settings.MAVEN_REPOSITORIES = repositories
    settings.MAVEN_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]


@contextmanager
def maven_repository(certificate: Path | None = None) -> Iterator[MavenRepository]:
    with tempfile.TemporaryDirectory() as folder, MavenRepository(Path(folder), certificate).running() as repository:
        yield repository
