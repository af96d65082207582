"""The shipped configurations of nginx and Caddy, each run in front of the real web process."""

import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import requests

from embedded.children import Children, free_port
from embedded.product import BIN, PROJECT, Product
from tests.authority import Authority
from tests.running import RunningProduct, TenantInUse, another_product, eventually, wait_for_web_processes

HOST = "coordinator.example"
FORM = "multipart/form-data; boundary=b"
RESPONSE_LIMIT = 2.0
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:{PROJECT}/.local/nginx/usr/sbin")
BODY_TIMEOUT = 3
MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
{user}
events {{ worker_connections 2000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/coordinator.conf;
}}
"""


class Site:
    """A proxy, `nginx` or `caddy`, with the web process behind it."""

    def __init__(self, proxy: str, folder: Path, product: Product) -> None:
        self.proxy, self.folder, self.product = proxy, folder, product
        self.plain_port, self.port = free_port(), free_port()
        authority = Authority(folder, "authority")
        self.certificate = authority.issue(folder / f"{HOST}.pem", "127.0.0.1", HOST)
        self.context = ssl.create_default_context(cafile=authority.file)

    def command(self) -> list[str]:
        """Write the shipped configuration with this test's paths, ports and times. Return the proxy's command."""
        upstream = f"127.0.0.1:{self.product.port}"
        if self.proxy == "caddy":
            changes = {
                "admin off": f"admin off\n\thttp_port {self.plain_port}\n\thttps_port {self.port}",
                "{$COORDINATOR_HOST:coordinator.example} {": f"{HOST} {{\n\ttls {self.certificate} {self.certificate}",
                "{$COORDINATOR_UPSTREAM:127.0.0.1:8000}": upstream,
            }
            file = self._written("Caddyfile", "Caddyfile", changes)
            return [str(BIN / "caddy"), "run", "--adapter=caddyfile", f"--config={file}"]
        assert NGINX, "there is no nginx; on Debian: apt-get install nginx"
        changes = {
            "127.0.0.1:8000": upstream,
            "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "/etc/ssl/coordinator/fullchain.pem": str(self.certificate),
            "/etc/ssl/coordinator/privkey.pem": str(self.certificate),
            "client_body_timeout 15s;": f"client_body_timeout {BODY_TIMEOUT}s;",
        }
        self._written("nginx.conf", "coordinator.conf", changes)
        main = self.folder / "nginx.conf"
        main.write_text(MAIN.format(folder=self.folder, user="user root;" if os.geteuid() == 0 else ""))
        return [NGINX, "-c", str(main), "-e", "stderr"]

    def _written(self, shipped: str, name: str, changes: dict[str, str]) -> Path:
        text = (PROJECT / "deploy" / shipped).read_text()
        for theirs, ours in changes.items():
            assert theirs in text, theirs
            text = text.replace(theirs, ours)
        file = self.folder / name
        file.write_text(text)
        return file

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


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def site(
    request: pytest.FixtureRequest, running: RunningProduct, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp(request.param)
    settings = {"HTTPS_ONLY": "true", "BEHIND_PROXY": "true", "ALLOWED_HOSTS": HOST}
    settings = {**running.product.settings, **settings}
    with another_product(folder, running.product.servers, settings) as product, Children(folder) as children:
        made = Site(request.param, folder, product)
        web = product.start_web()
        children.start(made.proxy, made.command(), environment={**os.environ, "HOME": str(folder)})
        eventually(made.is_ready, seconds=60, what="the site")
        wait_for_web_processes(product, web)
        yield made


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> TenantInUse:
    return running.tenant(name)


def post(tenant: TenantInUse, path: str, media_type: str = "application/json") -> str:
    authorization = tenant.http.headers["Authorization"]
    return (
        f"POST /api/v1/tenants/{tenant.tenant.slug}/{path} HTTP/1.1\r\n"
        f"Authorization: {authorization!s}\r\nContent-Type: {media_type}"
    )


def upload(size: int) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="artifact"; filename="a.zip"\r\n\r\n'
    return part + b"x" * size + b"\r\n--b--\r\n"


def test_five_hundred_incomplete_bodies_delay_no_other_request(site: Site, tenant: TenantInUse) -> None:
    stopped = f"{post(tenant, 'executions')}\r\nHost: {HOST}\r\nContent-Length: 500\r\n\r\n{{".encode()
    with ExitStack() as held:
        for _ in range(500):
            held.enter_context(site.connection(stopped))
        for _ in range(10):
            began = time.monotonic()
            assert site.is_ready()
            body = b'{"pipelineId": "none", "input": {}, "idempotencyKey": "k"}'
            assert site.ask(post(tenant, "executions"), body)[0] == 404
            assert time.monotonic() - began < RESPONSE_LIMIT


def test_plain_http_is_redirected_and_no_forwarded_header_of_the_client_is_trusted(site: Site) -> None:
    url = f"http://127.0.0.1:{site.plain_port}/admin/"
    answer = requests.get(url, headers={"Host": HOST}, allow_redirects=False, timeout=10)
    assert (answer.is_permanent_redirect, answer.headers["Location"]) == (True, f"https://{HOST}/admin/")
    # The coordinator would redirect a request that seems to have come over http.
    for name in ("X-Forwarded-Proto", "X_Forwarded_Proto"):
        assert site.ask(f"GET /health/live HTTP/1.1\r\n{name}: http")[0] == 200


def test_a_body_beyond_the_limit_is_refused_and_a_large_upload_is_not(site: Site, tenant: TenantInUse) -> None:
    """The coordinator refuses a smaller body itself."""
    assert site.ask(post(tenant, "executions:batch"), b" " * (10 * 2**20))[0] == 413
    status, answer = site.ask(post(tenant, "executions"), b" " * (8 * 2**20))
    assert (status, b"PAYLOAD_TOO_LARGE" in answer) == (413, True)
    status, answer = site.ask(post(tenant, "pipelines/p/releases", FORM), upload(12 * 2**20))
    assert status == 400, answer
    for page, refused in (("upload/", False), ("", True)):
        request = f"POST /admin/releases/release/{page} HTTP/1.1\r\nContent-Type: {FORM}"
        assert (site.ask(request, upload(12 * 2**20))[0] == 413) == refused


@pytest.mark.parametrize("site", ["nginx"], indirect=True)
def test_an_address_sends_at_most_four_uploads_at_once(site: Site, tenant: TenantInUse) -> None:
    request = post(tenant, "pipelines/p/releases", FORM)
    stopped = f"{request}\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n--b".encode()
    assert site.ask(request, upload(10))[0] == 400
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(site.connection(stopped))
        eventually(lambda: site.ask(request, upload(10))[0] == 503, seconds=BODY_TIMEOUT, what="the refusal")
        assert site.ask(request, upload(10), "127.0.0.2")[0] == 400
        assert site.ask(request.replace("POST", "GET", 1))[0] == 404
        assert site.is_ready()
    eventually(lambda: site.ask(request, upload(10))[0] == 400, what="the end of the other uploads")
