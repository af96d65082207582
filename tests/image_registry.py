"""A real HTTP server for the used part of the OCI distribution API: manifests and their tokens."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPOSITORY = "acme/app"


class ImageRegistry:
    """A registry with the manifests `digests` in one repository. If `token` is set, it issues and requires that token.

    With a certificate for 127.0.0.1, it uses TLS.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.digests: set[str] = set()
        self.reported_digest: str | None = None
        self.token: str | None = None
        self.token_padding = ""
        """Additional text in the token document."""
        self.password: str | None = None
        self.status: int | None = None
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
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.requests.append((self.command, self.path, dict(self.headers)))
                registry.gate.wait(120)
                time.sleep(registry.seconds)
                status, headers, body = registry.respond(self.path, self.headers.get("Authorization", ""))
                if registry.breaks_off:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self.server.server_address[1]}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def reference(self, digest: str) -> str:
        return f"{self.host}/{REPOSITORY}@{digest}"

    def respond(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
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
        return 200, {"Docker-Content-Digest": self.reported_digest or digest}, b'{"schemaVersion": 2}'


@contextmanager
def image_registry(certificate: Path | None = None) -> Iterator[ImageRegistry]:
    registry = ImageRegistry(certificate)
    thread = threading.Thread(target=registry.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        registry.gate.set()
        registry.server.shutdown()
        registry.server.server_close()
        thread.join(10)
