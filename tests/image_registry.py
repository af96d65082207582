"""A real HTTP server for the used part of the OCI distribution API: manifests and their tokens."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.http_server import HttpServer, Request, send

REPOSITORY = "acme/app"


class ImageRegistry(HttpServer):
    """A registry with the manifests `digests` in one repository. If `token` is set, it issues and requires it."""

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(certificate)
        self.host = f"{'localhost' if certificate is None else '127.0.0.1'}:{self.port}"
        self.digests: set[str] = set()
        self.reported_digest: str | None = None
        self.token: str | None = None
        self.token_padding = ""
        """Additional text in the token document."""
        self.password: str | None = None
        self.status: int | None = None
        self.head_status: int | None = None
        """The response to each HEAD request, even if it is authorised."""
        self.manifest = b"manifest"
        """The body of each response with a manifest."""
        self.realm: str | None = None
        self.location: str | None = None
        self.breaks_off = False
        """If True, every response ends after its status line."""
        self.gate = threading.Event()
        """Requests wait until this event is set. A test can clear it."""
        self.gate.set()
        self.seconds = 0.0
        """The duration of each response in seconds."""
        self.requests: list[tuple[str, str, dict[str, str]]] = []

    def release(self) -> None:
        self.gate.set()

    def respond(self, request: Request) -> None:
        self.requests.append((request.command, request.path, dict(request.headers)))
        self.gate.wait(120)
        time.sleep(self.seconds)
        if self.breaks_off:
            request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        else:
            send(request, *self._response(request, request.headers.get("Authorization", "")))

    def reference(self, digest: str) -> str:
        return f"{self.host}/{REPOSITORY}@{digest}"

    def _response(self, request: Request, authorization: str) -> tuple[int, dict[str, str], bytes]:
        path = request.path
        if self.head_status is not None and request.command == "HEAD":
            return self.head_status, {}, b""
        if self.status is not None:
            return self.status, {"Location": self.location or ""}, b""
        if path.startswith("/token"):
            if self.password is not None and not authorization.startswith("Basic "):
                return 401, {}, b"{}"
            return 200, {}, json.dumps({"token": self.token, "more": self.token_padding}).encode()
        if self.token is not None and authorization != f"Bearer {self.token}":
            realm = self.realm or f"http://{self.host}/token"
            return 401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="registry"'}, b""
        prefix = f"/v2/{REPOSITORY}/manifests/"
        digest = path.removeprefix(prefix)
        if not path.startswith(prefix) or digest not in self.digests:
            return 404, {}, b""
        return 200, {"Docker-Content-Digest": self.reported_digest or digest}, self.manifest


@contextmanager
def image_registry(certificate: Path | None = None) -> Iterator[ImageRegistry]:
    with ImageRegistry(certificate).running() as registry:
        yield registry
