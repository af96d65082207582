import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from embedded.children import ChildError
from embedded.product import Product
from tests.broker import broker_urls
from tests.database_template import empty_database
from tests.servers import NUMBER, ordinary_url


@pytest.fixture
def product(django_db_setup: None, tmp_path: Path) -> Iterator[Product]:
    owner = urlsplit(os.environ["DATABASE_OWNER_URL"])
    with empty_database(f"prepared_{NUMBER}") as name:
        urls = {"DATABASE_URL": ordinary_url(name), "DATABASE_OWNER_URL": urlunsplit(owner._replace(path=f"/{name}"))}
        yield Product(tmp_path, {**urls, **broker_urls()})


def test_it_migrates_as_the_owner_and_creates_the_rest_as_the_application(product: Product) -> None:
    options = ("--tenant=acme", "--user=ada", "--scope=read")
    with product.preparing(*options, DJANGO_SUPERUSER_PASSWORD="correct horse battery") as preparation:
        preparation.migrate()
        with psycopg.connect(product.servers["DATABASE_URL"]) as application:
            assert application.execute("SELECT count(*) FROM executions_execution").fetchone() == (0,)
        created = preparation.created()
    assert created["token"].startswith("dc_")
    assert created["workerKey"] == product.manage("worker_key", "acme")
    assert product.manage("verify_audit", "acme").startswith("acme: OK")
    assert list((product.folder / "static").glob("staticfiles.json"))
    with psycopg.connect(product.servers["DATABASE_URL"]) as application, pytest.raises(psycopg.Error):
        application.execute("CREATE TABLE mine (id int)")


def test_it_says_what_failed(product: Product) -> None:
    product.servers["DATABASE_OWNER_URL"] = "elsewhere"
    with (
        pytest.raises(ChildError, match="The URL of the database's owner must be a URL such as"),
        product.preparing() as preparation,
    ):
        preparation.migrate()
