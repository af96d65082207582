"""The fixtures of `tests/e2e`, requests, and copies of the product with a dedicated broker."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from embedded.product import Product
from embedded.valkey import Valkey
from tests.database_template import connected_to, database
from tests.e2e.conftest import tenant, v1, v2
from tests.receiving import receiver
from tests.running import RunningProduct, TenantInUse, another_product, eventually
from tests.servers import NUMBER, ordinary_url
from tests.tcp_proxy import over_tls, tls_in_front_of

__all__ = ["receiver", "tenant", "v1", "v2"]

PIPELINES = Path(__file__).parent / "pipelines"


def post(tenant: TenantInUse, path: str, status: int = 200, **body: Any) -> Any:
    response = tenant.http.post(tenant.url(path), json=body)
    assert response.status_code == status, response.text
    return response.json()


def pending(tenant: TenantInUse, execution_id: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until the execution has so many open interactions, and return them in their order."""

    def found() -> list[dict[str, Any]] | None:
        items: list[dict[str, Any]] = tenant.get(f"interactions?status=pending&executionId={execution_id}")["items"]
        return items if len(items) == count else None

    return sorted(eventually(found, what=f"{count} interactions"), key=lambda item: int(item["itemIndex"] or 0))


def complete(tenant: TenantInUse, interaction: dict[str, Any], response: Any, status: int = 200) -> Any:
    body = {"interactionId": interaction["interactionId"], "response": response}
    return post(tenant, "interactions/complete", status, **body)


def start_hosting(tenant: TenantInUse, name: str, release: Path, *options: str, directory: Path) -> None:
    """Start `pipelines worker` in the folder with these options and wait until it is accepted."""
    product = tenant.product
    child = product.children.start(
        name,
        [sys.executable, "-m", "pipelines", "worker", f"--release={release}", f"--worker-id={name}", *options],
        environment={
            "PYTHONPATH": str(PROJECT),
            "DJANGO_SETTINGS_MODULE": "another.program",
            "PIPELINES_TENANT": tenant.tenant.slug,
            "PIPELINES_BROKER_URL": product.broker_url(tenant.tenant.slug),
            "PIPELINES_WORKER_KEY": worker_key(product.environment["WORKER_SECRET"], tenant.tenant.slug).text,
        },
        directory=directory,
    )
    tenant.workers.append(child)
    tenant.wait_for_worker(name, "HEALTHY")


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
