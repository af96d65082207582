"""deploy/Caddyfile, run by Caddy in front of the real web process."""

from collections.abc import Iterator

import pytest

from embedded.product import BIN, PROJECT
from tests.parts.deploy import site as sites
from tests.parts.deploy.site import HOST, Site, replaced
from tests.running import RunningProduct, TenantInUse


def command(site: Site) -> list[str]:
    """Write the shipped configuration with this test's ports and certificate. Return Caddy's command."""
    text = (PROJECT / "deploy" / "Caddyfile").read_text()
    changes = {
        "admin off": f"admin off\n\thttp_port {site.plain_port}\n\thttps_port {site.port}",
        "{$COORDINATOR_HOST:coordinator.example} {": f"{HOST} {{\n\ttls {site.certificate} {site.certificate}",
        "{$COORDINATOR_UPSTREAM:127.0.0.1:8000}": f"127.0.0.1:{site.product.port}",
    }
    file = site.folder / "Caddyfile"
    file.write_text(replaced(text, changes))
    return [str(BIN / "caddy"), "run", "--adapter=caddyfile", f"--config={file}"]


@pytest.fixture(scope="module")
def site(running: RunningProduct, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with sites.site(running, tmp_path_factory.mktemp("caddy"), "caddy", command) as made:
        yield made


@pytest.fixture
def tenant(running: RunningProduct, name: str) -> TenantInUse:
    return running.tenant(name)


def test_five_hundred_incomplete_bodies_delay_no_other_request(site: Site, tenant: TenantInUse) -> None:
    with sites.stopped_clients(site, tenant) as last:
        # Unlike nginx, Caddy keeps the connection. It never passed the request on to the coordinator.
        last.settimeout(1)
        with pytest.raises(TimeoutError):
            last.recv(1)


def test_plain_http_is_redirected_to_https(site: Site) -> None:
    sites.require_https(site, 308)


def test_the_coordinator_trusts_no_forwarded_header_of_the_client(site: Site) -> None:
    sites.require_no_forwarded_header_of_the_client(site)


def test_a_body_beyond_the_limit_is_refused_and_a_large_upload_is_not(site: Site, tenant: TenantInUse) -> None:
    sites.require_limits_of_bodies(site, tenant)
