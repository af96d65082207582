"""The web process behind a proxy, and what every shipped configuration of a proxy must do."""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import requests

from embedded.children import Children, free_port
from embedded.product import Product
from releases.artifacts.store.local import LocalArtifactStore
from tests.parts.deploy.authority import Authority
from tests.running import RunningProduct, TenantInUse, eventually, wait_for_web_processes

HOST = "coordinator.example"
FORM = "multipart/form-data; boundary=b"
RESPONSE_LIMIT = 2.0


@dataclass
class Site:
    """A proxy, with the web process behind it."""

    product: Product
    plain_port: int
    port: int
    authority: Path
    certificate: Path
    folder: Path

    @cached_property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def connection(self, sent: bytes = b"", source: str = "127.0.0.1") -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=15, source_address=(source, 0))
        made = self.context.wrap_socket(plain, server_hostname=HOST)
        made.sendall(sent)
        return made

    def ask(self, request: str, body: bytes = b"", source: str = "127.0.0.1") -> tuple[int, bytes]:
        """Return the status and the whole response."""
        head = f"{request}\r\nHost: {HOST}\r\nConnection: close\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        with self.connection(source=source) as connection:
            # A proxy may refuse a body before it has read all of it.
            with suppress(OSError):
                connection.sendall(head.encode() + body)
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return int(answer.split(b" ", 2)[1]), answer

    def is_ready(self) -> bool:
        try:
            return self.ask("GET /health/ready HTTP/1.1")[0] == 200
        except OSError:
            return False


@contextmanager
def site(running: RunningProduct, folder: Path, name: str, command: Callable[[Site], list[str]]) -> Iterator[Site]:
    """Start a web process and the proxy `command`, which gets their ports and the certificate."""
    authority = Authority(folder, "authority")
    authority.server(HOST)
    settings = {"HTTPS_ONLY": "true", "BEHIND_PROXY": "true", "ALLOWED_HOSTS": HOST}
    product = Product(folder / "product", running.product.servers, {**running.product.settings, **settings})
    LocalArtifactStore(Path(product.environment["ARTIFACT_ROOT"])).set_up()
    made = Site(product, free_port(), free_port(), authority.file, folder / f"{HOST}.pem", folder)
    with product.children, Children(folder) as children:
        web = product.start_web()
        children.start(name, command(made), environment={**os.environ, "HOME": str(folder)})
        eventually(made.is_ready, seconds=60, what="the site")
        wait_for_web_processes(product, web)
        yield made


def replaced(text: str, changes: dict[str, str]) -> str:
    """Return a shipped configuration with the paths, ports and times of a test. Each one must occur in it."""
    for shipped, ours in changes.items():
        assert shipped in text, shipped
        text = text.replace(shipped, ours)
    return text


def post(tenant: TenantInUse, path: str, media_type: str = "application/json") -> str:
    authorization = tenant.http.headers["Authorization"]
    return (
        f"POST /api/v1/tenants/{tenant.tenant.slug}/{path} HTTP/1.1\r\n"
        f"Authorization: {authorization!s}\r\nContent-Type: {media_type}"
    )


def upload(size: int) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="artifact"; filename="a.zip"\r\n\r\n'
    return part + b"x" * size + b"\r\n--b--\r\n"


@contextmanager
def stopped_clients(site: Site, tenant: TenantInUse) -> Iterator[ssl.SSLSocket]:
    """Require that five hundred incomplete bodies delay no other request. Yields the connection of the last one."""
    stopped = f"{post(tenant, 'executions')}\r\nHost: {HOST}\r\nContent-Length: 500\r\n\r\n{{".encode()
    with ExitStack() as held:
        connections = [held.enter_context(site.connection(stopped)) for _ in range(500)]
        for _ in range(10):
            began = time.monotonic()
            assert site.is_ready()
            body = b'{"pipelineId": "none", "input": {}, "idempotencyKey": "k"}'
            assert site.ask(post(tenant, "executions"), body)[0] == 404
            assert time.monotonic() - began < RESPONSE_LIMIT
        yield connections[-1]


def require_https(site: Site, status: int) -> None:
    """Plain http is redirected to https."""
    url = f"http://127.0.0.1:{site.plain_port}/admin/"
    answer = requests.get(url, headers={"Host": HOST}, allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (status, f"https://{HOST}/admin/")


def require_no_forwarded_header_of_the_client(site: Site) -> None:
    """The coordinator would redirect a request that seems to have come over http."""
    for name in ("X-Forwarded-Proto", "X_Forwarded_Proto"):
        assert site.ask(f"GET /health/live HTTP/1.1\r\n{name}: http")[0] == 200


def require_limits_of_bodies(site: Site, tenant: TenantInUse) -> None:
    """A body beyond the limit is refused, the coordinator refuses a smaller one itself, and a large upload passes."""
    assert site.ask(post(tenant, "executions:batch"), b" " * (10 * 2**20))[0] == 413
    status, answer = site.ask(post(tenant, "executions"), b" " * (8 * 2**20))
    assert (status, b"PAYLOAD_TOO_LARGE" in answer) == (413, True)
    status, answer = site.ask(post(tenant, "pipelines/p/releases", FORM), upload(12 * 2**20))
    assert status == 400, answer
    for page, refused in (("upload/", False), ("", True)):
        request = f"POST /admin/releases/release/{page} HTTP/1.1\r\nContent-Type: {FORM}"
        assert (site.ask(request, upload(12 * 2**20))[0] == 413) == refused
