"""Fixtures: the running product, tenants in it, and a database that tests may commit to."""

import secrets
import tempfile
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from coordinator.celery import app
from embedded.product import Product
from releases.artifacts.local_store import LocalArtifactStore
from releases.registration.verification_pool import verify
from tests import caches, making, signing, transaction_calls
from tests.application_role import application_role
from tests.artifact_stores import use_local
from tests.broker import broker_urls
from tests.cases import current_settings
from tests.database_template import connected_to, database, template
from tests.product_settings import with_constants
from tests.race_database import race_database
from tests.repetition import EXAMPLES
from tests.running import REST_PORT, TPF_ADMIN_TOKEN, TPF_CONTROL_TOKEN, RunningProduct
from tests.s3 import s3_place, s3_server
from tests.servers import FOLDER, NUMBER, ordinary_url
from tests.world import module_world
from wire.documents.descriptor import descriptor_from_json

__all__ = ["application_role", "module_world", "race_database", "s3_place", "s3_server"]

OWN_DATABASES = {connection.settings_dict["NAME"], f"test_{NUMBER}"}

SHORT = "tests/unit/"
"""A folder of short tests. At the end, they keep all processes busy while one still runs a long test."""

# A busy machine is slow, which is not a fault of the code.
hypothesis.settings.register_profile(
    "tests", max_examples=EXAMPLES, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the tests of the running product after those in a transaction, which would see what it commits."""
    transactions = set(takewhile(lambda item: "running" not in getattr(item, "fixturenames", ()), items[:]))

    def place(item: pytest.Item) -> int:
        if item.nodeid.startswith(SHORT):
            return 2
        return 0 if item in transactions else 1

    items.sort(key=place)


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database, also for runs in which only processes of the product use it."""
    # Celery loads the tasks and then configures the logs again. Inside a subtest, that would be on its captured stderr.
    app.loader.import_default_modules()
    with django_db_blocker.unblock():
        template()
    with database(f"test_{NUMBER}") as name, connected_to(name):
        # The first verification process starts slowly. During a test, this delay would make workers stale.
        verify(descriptor_from_json(making.descriptor(making.contract(), b"", kind="container-image")), lambda _: None)
        yield


@pytest.fixture(scope="session")
def gathered_static_files(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("static"))
    with override_settings(STATIC_ROOT=folder):
        call_command("collectstatic", interactive=False, verbosity=0)
    return folder


@pytest.fixture(scope="session")
def running(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    gathered_static_files: str,
) -> Iterator[RunningProduct]:
    """Web, control worker and clock as real processes, with this process's test database."""
    folder = tmp_path_factory.mktemp("running")
    product = Product(
        folder,
        {"DATABASE_URL": ordinary_url(str(connection.settings_dict["NAME"])), **broker_urls()},
        {
            **transaction_calls.environment(),
            "STATIC_ROOT": gathered_static_files,
            "SECRET_KEY": settings.SECRET_KEY,
            "WORKER_SECRET": settings.WORKER_SECRET,
            "LEASE_SECONDS": "3",
            "SWEEP_SECONDS": "0.65",
            "WORKER_STALE_SECONDS": "5",
            "RETRY_LIMIT": "2",
            "RETRY_DELAY_SECONDS": "0.5",
            "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            **with_constants(),
            "TPF_ADMIN_ENABLED": "true",
            "TPF_ADMIN_TOKEN": TPF_ADMIN_TOKEN,
            "TPF_CONTROL_PLANE_ENABLED": "true",
            "TPF_CONTROL_PLANE_TOKEN": TPF_CONTROL_TOKEN,
            "TPF_CREATE_TENANTS": "true",
            "TPF_RELEASE_ROOTS": str(folder / "releases"),
            "REST_WORKER_ORIGINS": f"http://127.0.0.1:{REST_PORT}",
            "REST_WORKER_TIMEOUT_SECONDS": "2",
            "REST_WORKER_CAPACITY": "2",
            "PROVENANCE_KEY": signing.private_pem("coordinator"),
        },
    )
    LocalArtifactStore(Path(product.environment["ARTIFACT_ROOT"])).set_up()
    with django_db_blocker.unblock():
        try:
            product.start()
            yield RunningProduct(product)
        finally:
            product.stop()
            connection.close()


@pytest.fixture(autouse=True)
def restored_product(request: pytest.FixtureRequest) -> Iterator[None]:
    """Restart processes of the product that a failed test has stopped."""
    yield
    if "running" in request.fixturenames:
        request.getfixturevalue("running").restore()


@pytest.fixture
def name() -> str:
    return f"t-{secrets.token_hex(5)}"


@pytest.fixture
def fast_hashing(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session", autouse=True)
def settings_of_the_run(django_test_environment: None) -> dict[str, Any]:
    return current_settings()


@pytest.fixture(scope="module", autouse=True)
def own_settings(settings_of_the_run: dict[str, Any]) -> Iterator[None]:
    yield
    assert current_settings() == settings_of_the_run


@pytest.fixture(autouse=True)
def own_database() -> Iterator[None]:
    """Fail tests that leave Django connected to another database."""
    yield
    assert connection.settings_dict["NAME"] in OWN_DATABASES


@pytest.fixture(autouse=True)
def empty_caches() -> None:
    caches.clear()


@pytest.fixture(autouse=True)
def artifact_root(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """An empty artifact store for each test, unless its module shares a world."""
    if "module_world" in request.fixturenames:
        yield
        return
    with tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True) as folder:
        use_local(settings, Path(folder) / "artifacts")
        LocalArtifactStore(settings.ARTIFACT_ROOT).set_up()
        yield
