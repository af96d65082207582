"""deploy/nginx.conf, run by Debian's nginx in front of the real web process."""

import os
import shutil
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from embedded.product import PROJECT
from tests.parts.deploy import site as sites
from tests.parts.deploy.site import FORM, HOST, Site, post, replaced, upload
from tests.running import RunningProduct, TenantInUse, eventually

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


def command(site: Site) -> list[str]:
    """Write the shipped configuration with this test's paths, ports and body timeout. Return nginx's command."""
    text = (PROJECT / "deploy" / "nginx.conf").read_text()
    changes = {
        "127.0.0.1:8000": f"127.0.0.1:{site.product.port}",
        "listen 80;": f"listen 127.0.0.1:{site.plain_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{site.port} ssl;",
        "/etc/ssl/coordinator/fullchain.pem": str(site.certificate),
        "/etc/ssl/coordinator/privkey.pem": str(site.certificate),
        "client_body_timeout 15s;": f"client_body_timeout {BODY_TIMEOUT}s;",
    }
    (site.folder / "coordinator.conf").write_text(replaced(text, changes))
    main = site.folder / "nginx.conf"
    main.write_text(MAIN.format(folder=site.folder, user="user root;" if os.geteuid() == 0 else ""))
    return [str(NGINX), "-c", str(main), "-e", "stderr"]


@pytest.fixture(scope="module")
def site(running: RunningProduct, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    assert NGINX, "there is no nginx; on Debian: apt-get install nginx"
    with sites.site(running, tmp_path_factory.mktemp("nginx"), "nginx", command) as made:
        yield made


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> TenantInUse:
    return running.tenant(name)


def test_five_hundred_incomplete_bodies_delay_no_other_request(site: Site, tenant: TenantInUse) -> None:
    with sites.stopped_clients(site, tenant) as last:
        assert is_closed(last)


def is_closed(connection: ssl.SSLSocket) -> bool:
    """Wait until nginx closes the connection. It never passed the request on to the coordinator."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_plain_http_is_redirected_to_https(site: Site) -> None:
    sites.require_https(site, 301)


def test_the_coordinator_trusts_no_forwarded_header_of_the_client(site: Site) -> None:
    sites.require_no_forwarded_header_of_the_client(site)


def test_a_body_beyond_the_limit_is_refused_and_a_large_upload_is_not(site: Site, tenant: TenantInUse) -> None:
    sites.require_limits_of_bodies(site, tenant)


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
        assert site.is_ready()
    eventually(lambda: site.ask(request, upload(10))[0] == accepted, what="the end of the other uploads")
