"""The metrics of web processes: their sums, and that they survive the kill of one."""

import os
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from embedded.children import free_port
from embedded.guard import descendants
from embedded.product import Product
from releases.artifacts.store.local import LocalArtifactStore
from tests.parts.web.conftest import start_web
from tests.running import RunningProduct, TenantInUse, eventually

TOKEN = "a-token-of-a-scraper"


@pytest.fixture
def measured(running: RunningProduct, tmp_path: Path) -> Iterator[Product]:
    """Another instance of the product, which serves its metrics. None of its processes is started."""
    settings = {
        **running.product.settings,
        "METRICS_TOKEN": TOKEN,
        "METRICS_PORT": str(free_port()),
        "METRICS_FOLDER": str(tmp_path / "metrics"),
    }
    made = Product(tmp_path / "product", running.product.servers, settings)
    LocalArtifactStore(Path(made.environment["ARTIFACT_ROOT"])).set_up()
    yield made
    made.stop()


def scrape(url: str) -> dict[str, float]:
    """Return the values of all samples, by name and labels."""
    response = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
    assert response.status_code == 200, response.text
    families = text_string_to_metric_families(response.text)
    return {
        f"{sample.name}{dict(sorted(sample.labels.items()))}": sample.value
        for family in families
        for sample in family.samples
    }


def port(product: Product) -> str:
    return f"http://127.0.0.1:{product.settings['METRICS_PORT']}"


def test_the_sums_of_all_web_processes_survive_the_kill_of_one(measured: Product, tenant: TenantInUse) -> None:
    web = start_web(measured)
    url = tenant.url("executions").replace(tenant.product.url, measured.url)
    for _ in range(20):
        headers = {"Authorization": tenant.http.headers["Authorization"]}
        assert requests.get(url, headers=headers, timeout=30).status_code == 200  # over any process
    key = "coordinator_http_requests_total{'status': '2xx', 'surface': 'api'}"
    assert scrape(measured.url)[key] == 20
    assert scrape(port(measured))[key] == 20
    first, second = descendants(web.pid)
    os.kill(first, SIGKILL)
    eventually(lambda: len(set(descendants(web.pid)) - {first, second}) == 1, what="the process in its place")
    measured.wait_until_ready()
    for _ in range(5):
        assert scrape(measured.url)[key] == 20
        assert scrape(port(measured))[key] == 20
    assert requests.get(f"{port(measured)}/live", timeout=30).text == "UP\n"


def test_the_metrics_need_the_token(measured: Product) -> None:
    start_web(measured)
    for url in (measured.url, port(measured)):
        for authorization in ("", "Bearer wrong", f"Basic {TOKEN}", TOKEN):
            response = requests.get(f"{url}/metrics", headers={"Authorization": authorization}, timeout=30)
            assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "coordinator_" not in response.text


def test_without_a_token_there_are_no_metrics_at_the_public_port(running: RunningProduct) -> None:
    assert requests.get(f"{running.product.url}/metrics", timeout=30).status_code == 404
