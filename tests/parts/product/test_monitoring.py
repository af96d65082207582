import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from coordinator.models import Process
from embedded.children import Child, free_port
from embedded.product import BIN, Product
from embedded.valkey import Valkey
from tests.parts.product.conftest import product_with_own_database
from tests.product_settings import with_constants
from tests.running import RunningProduct, eventually


@pytest.fixture
def alone(running: RunningProduct, tmp_path: Path) -> Iterator[Product]:
    """A product with its own database and broker, none of whose processes is started."""
    with Valkey(tmp_path / "valkey") as valkey:
        broker = {"REDIS_URL": valkey.url, "REDIS_OWNER_URL": valkey.owner_url}
        with product_with_own_database(running, tmp_path, broker, {}) as product:
            yield product


def started(product: Product, kind: str) -> tuple[Child, str]:
    """Start a process with a metrics port. Return it and its address."""
    port = str(free_port())
    product.environment["METRICS_PORT"] = port
    child = product.children.start(
        kind, [BIN / "coordinator", "run", kind], environment=product.environment, directory=product.folder
    )
    url = f"http://127.0.0.1:{port}"
    eventually(lambda: answers(f"{url}/live"), seconds=60, what=f"the port of the {kind}")
    return child, url


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def rows() -> set[str]:
    return set(Process.objects.values_list("kind", flat=True))


@pytest.mark.parametrize("kind", ["control", "clock"])
def test_a_process_that_works_stays_alive(alone: Product, kind: str) -> None:
    silence = 2.0
    alone.environment.update(with_constants(LIVENESS_SECONDS=silence, BEAT_SECONDS=silence / 12))
    _, url = started(alone, kind)
    eventually(lambda: rows() == {kind}, seconds=60, what="the report")
    time.sleep(2 * silence)
    eventually(lambda: answers(f"{url}/live"), seconds=10, what="a turn of the main loop")
    assert alone.manage("probe", kind) == "UP"
