"""deploy/nginx.conf, run by Debian's nginx in front of the real web process."""

import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from embedded.children import Children, free_port
from embedded.product import PROJECT, Product
from releases.artifacts.store.local import LocalArtifactStore
from tests.foundation.database.postgresql.tls_front import Authority
from tests.running import RunningProduct, TenantInUse, eventually, wait_for_web_processes

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:{PROJECT}/.local/nginx/usr/sbin")
HOST = "coordinator.example"
BODY_TIMEOUT = 3
FORM = "multipart/form-data; boundary=b"
RESPONSE_LIMIT = 2.0
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


@dataclass
class Site:
    """nginx, with the web process behind it."""

    product: Product
    plain_port: int
    port: int
    authority: Path

    def connection(self, sent: bytes = b"", source: str = "127.0.0.1") -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.authority)
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=15, source_address=(source, 0))
        made = context.wrap_socket(plain, server_hostname=HOST)
        made.sendall(sent)
        return made

    def ask(self, request: str, body: bytes = b"", source: str = "127.0.0.1") -> tuple[int, bytes]:
        """Return the status and the whole response."""
        head = f"{request}\r\nHost: {HOST}\r\nConnection: close\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n" if body else "\r\n"
        with self.connection(head.encode() + body, source) as connection:
            answer = b""
            while part := connection.recv(65536):
                answer += part
        return int(answer.split(b" ", 2)[1]), answer


def configured(folder: Path, site: Site, certificate: Path) -> Path:
    """Write the shipped configuration with this test's paths, ports and body timeout. Return nginx's main file."""
    text = (PROJECT / "deploy" / "nginx.conf").read_text()
    for shipped, ours in {
        "127.0.0.1:8000": f"127.0.0.1:{site.product.port}",
        "listen 80;": f"listen 127.0.0.1:{site.plain_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{site.port} ssl;",
        "/etc/ssl/coordinator/fullchain.pem": str(certificate),
        "/etc/ssl/coordinator/privkey.pem": str(certificate),
        "client_body_timeout 15s;": f"client_body_timeout {BODY_TIMEOUT}s;",
    }.items():
        assert shipped in text
        text = text.replace(shipped, ours)
    (folder / "coordinator.conf").write_text(text)
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""))
    return main


@pytest.fixture(scope="module")
def site(running: RunningProduct, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert NGINX, "there is no nginx; on Debian: apt-get install nginx"
    folder = tmp_path_factory.mktemp("nginx")
    authority = Authority(folder, "authority")
    authority.server(HOST)
    settings = {"HTTPS_ONLY": "true", "BEHIND_PROXY": "true", "ALLOWED_HOSTS": HOST}
    product = Product(folder / "product", running.product.servers, {**running.product.settings, **settings})
    LocalArtifactStore(Path(product.environment["ARTIFACT_ROOT"])).set_up()
    made = Site(product, free_port(), free_port(), authority.file)
    main = configured(folder, made, folder / f"{HOST}.pem")
    with product.children, Children(folder) as children:
        web = product.start_web()
        children.start("nginx", [NGINX, "-c", main, "-e", "stderr"], environment=dict(os.environ))
        eventually(lambda: is_ready(made), seconds=60, what="the site")
        wait_for_web_processes(product, web)
        yield made


def is_ready(site: Site) -> bool:
    try:
        return site.ask("GET /health/ready HTTP/1.1")[0] == 200
    except OSError:
        return False


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> TenantInUse:
    return running.tenant(name)


def post(tenant: TenantInUse, path: str, media_type: str = "application/json") -> str:
    authorization = tenant.http.headers["Authorization"]
    return (
        f"POST /api/v1/tenants/{tenant.tenant.slug}/{path} HTTP/1.1\r\n"
        f"Authorization: {authorization!s}\r\nContent-Type: {media_type}"
    )


def test_five_hundred_incomplete_bodies_delay_no_other_request(site: Site, tenant: TenantInUse) -> None:
    stopped = f"{post(tenant, 'executions')}\r\nHost: {HOST}\r\nContent-Length: 500\r\n\r\n{{".encode()
    with ExitStack() as held:
        connections = [held.enter_context(site.connection(stopped)) for _ in range(500)]
        for _ in range(10):
            began = time.monotonic()
            assert is_ready(site)
            body = b'{"pipelineId": "none", "input": {}, "idempotencyKey": "k"}'
            assert site.ask(post(tenant, "executions"), body)[0] == 404
            assert time.monotonic() - began < RESPONSE_LIMIT
        assert is_closed(connections[-1])


def is_closed(connection: ssl.SSLSocket) -> bool:
    """Wait until nginx closes the connection. It never passed the request on to the coordinator."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_plain_http_is_redirected_to_https(site: Site) -> None:
    url = f"http://127.0.0.1:{site.plain_port}/admin/"
    answer = requests.get(url, headers={"Host": HOST}, allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{HOST}/admin/")


def test_the_coordinator_trusts_no_forwarded_header_of_the_client(site: Site) -> None:
    for name in ("X-Forwarded-Proto", "X_Forwarded_Proto"):
        assert site.ask(f"GET /health/live HTTP/1.1\r\n{name}: http")[0] == 200


def test_a_body_beyond_the_limit_is_refused_and_a_large_upload_is_not(site: Site, tenant: TenantInUse) -> None:
    assert site.ask(post(tenant, "executions:batch"), b" " * (10 * 2**20))[0] == 413
    status, answer = site.ask(post(tenant, "executions"), b" " * (8 * 2**20))
    assert (status, b"PAYLOAD_TOO_LARGE" in answer) == (413, True)
    status, answer = site.ask(post(tenant, "pipelines/p/releases", FORM), upload(12 * 2**20))
    assert status == 400, answer
    for page, refused in (("upload/", False), ("", True)):
        request = f"POST /admin/releases/release/{page} HTTP/1.1\r\nContent-Type: {FORM}"
        assert (site.ask(request, upload(12 * 2**20))[0] == 413) == refused


def upload(size: int) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="artifact"; filename="a.zip"\r\n\r\n'
    return part + b"x" * size + b"\r\n--b--\r\n"


@pytest.mark.parametrize("page", ["api", "admin"])
def test_an_address_sends_at_most_four_uploads_at_once(site: Site, tenant: TenantInUse, page: str) -> None:
    api = post(tenant, "pipelines/p/releases", FORM)
    request = api if page == "api" else f"POST /admin/releases/release/upload/ HTTP/1.1\r\nContent-Type: {FORM}"
    # Without a log-in, the admin redirects to the log-in page.
    accepted = 400 if page == "api" else 302
    stopped = f"{request}\r\nHost: {HOST}\r\nContent-Length: 100000\r\n\r\n--b".encode()
    assert site.ask(request, upload(10))[0] == accepted
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(site.connection(stopped))
        eventually(lambda: site.ask(request, upload(10))[0] == 503, seconds=BODY_TIMEOUT, what="the refusal")
        assert site.ask(request, upload(10), "127.0.0.2")[0] == accepted
        assert site.ask(api.replace("POST", "GET", 1))[0] == 404
        assert is_ready(site)
    eventually(lambda: site.ask(request, upload(10))[0] == accepted, what="the end of the other uploads")
