"""The fixtures of `tests/e2e`, and copies of the product with a dedicated broker."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from embedded.product import Product
from embedded.valkey import Valkey
from tests.authority import make_certificate
from tests.database_template import connected_to, database
from tests.e2e.conftest import tenant, v1, v2
from tests.receiving import receiver
from tests.running import RunningProduct, another_product
from tests.servers import NUMBER, ordinary_url
from tests.tcp_proxy import over_tls, tls_in_front_of

__all__ = ["receiver", "tenant", "v1", "v2"]

PIPELINES = Path(__file__).parent / "pipelines"


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path / "broker.pem", "127.0.0.1")


@contextmanager
def product_with_own_database(
    running: RunningProduct, folder: Path, broker: Mapping[str, str], settings: Mapping[str, str], **options: Any
) -> Iterator[Product]:
    """A second copy of the product with the given `settings`, whose processes are not started.

    With a shared database, each copy would claim executions meant for the other's workers. Within the block, the test
    also writes its rows to the new database.
    """
    with database(f"test_{NUMBER}_own") as name, connected_to(name):
        servers = {"DATABASE_URL": ordinary_url(name), **broker}
        with another_product(folder, servers, {**running.product.settings, **settings}, **options) as product:
            yield product


@contextmanager
def product_with_own_broker(
    running: RunningProduct, folder: Path, settings: Mapping[str, str], certificate: Path | None = None
) -> Iterator[tuple[RunningProduct, Valkey]]:
    """Run a second copy of the product with the given `settings`, a dedicated broker and a dedicated database.

    With a `certificate`, the product reaches the broker only over TLS.
    """
    with ExitStack() as up:
        valkey = up.enter_context(Valkey(folder / "valkey"))
        broker_url = valkey.url
        if certificate is not None:
            port = up.enter_context(tls_in_front_of(valkey.port, certificate))
            broker_url = over_tls(valkey.url, port)
        broker = {"REDIS_URL": broker_url, "REDIS_OWNER_URL": valkey.owner_url}
        product = up.enter_context(product_with_own_database(running, folder, broker, settings, web_processes=1))
        product.start()
        yield RunningProduct(product), valkey
