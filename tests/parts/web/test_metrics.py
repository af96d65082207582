"""The metrics of web processes need a token, and their sums survive the kill of one process."""

import os
from pathlib import Path
from signal import SIGKILL

import requests
from prometheus_client.parser import text_string_to_metric_families

from embedded.children import free_port
from embedded.guard import descendants
from embedded.product import Product
from tests.parts.web.conftest import start_web
from tests.running import TenantInUse, eventually

TOKEN = "a-token-of-a-scraper"


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


def test_they_need_the_token_and_their_sums_survive_the_kill_of_a_process(
    own: Product, tenant: TenantInUse, tmp_path: Path
) -> None:
    port = free_port()
    own.environment |= {"METRICS_TOKEN": TOKEN, "METRICS_PORT": str(port), "METRICS_FOLDER": str(tmp_path / "metrics")}
    web = start_web(own)
    addresses = (own.url, f"http://127.0.0.1:{port}")
    for refused in addresses:
        for authorization in ("", "Bearer wrong", f"Basic {TOKEN}", TOKEN):
            response = requests.get(f"{refused}/metrics", headers={"Authorization": authorization}, timeout=30)
            assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert "coordinator_" not in response.text
    url = tenant.url("executions").replace(tenant.product.url, own.url)
    for _ in range(20):
        headers = {"Authorization": tenant.http.headers["Authorization"]}
        assert requests.get(url, headers=headers, timeout=30).status_code == 200  # over any process
    key = "coordinator_http_requests_total{'status': '2xx', 'surface': 'api'}"
    assert [scrape(each)[key] for each in addresses] == [20, 20]
    first, second = descendants(web.pid)
    os.kill(first, SIGKILL)
    eventually(lambda: len(set(descendants(web.pid)) - {first, second}) == 1, what="the process in its place")
    own.wait_until_ready()
    for _ in range(5):
        assert [scrape(each)[key] for each in addresses] == [20, 20]
    assert requests.get(f"{addresses[1]}/live", timeout=30).text == "UP\n"
