import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from embedded.children import ChildError
from embedded.product import Product
from tenancy.roles import Scope
from tests.broker import broker_urls
from tests.building import eventually
from tests.database_template import empty_database
from tests.servers import NUMBER, ordinary_url

OPTIONS = ("--tenant=acme", "--user=ada")
PASSWORD = "correct horse battery"


@pytest.fixture
def product(django_db_setup: None, tmp_path: Path) -> Iterator[Product]:
    owner = urlsplit(os.environ["DATABASE_OWNER_URL"])
    with empty_database(f"prepared_{NUMBER}") as name:
        urls = {"DATABASE_URL": ordinary_url(name), "DATABASE_OWNER_URL": urlunsplit(owner._replace(path=f"/{name}"))}
        yield Product(tmp_path, {**urls, **broker_urls()})


def test_it_migrates_as_the_owner_and_creates_the_rest_as_the_application(product: Product) -> None:
    with product.preparing(*OPTIONS, DJANGO_SUPERUSER_PASSWORD=PASSWORD) as preparation:
        preparation.migrate(product.servers["DATABASE_OWNER_URL"])
        with psycopg.connect(product.servers["DATABASE_URL"]) as application:
            assert application.execute("SELECT count(*) FROM executions_execution").fetchone() == (0,)
        created = preparation.created()
    assert created["token"].startswith("dc_")
    assert created["workerKey"] == product.manage("worker_key", "acme")
    assert product.manage("verify_audit", "acme").startswith("acme: OK")
    assert list((product.folder / "static").glob("staticfiles.json"))
    with psycopg.connect(product.servers["DATABASE_URL"]) as application:
        assert application.execute("SELECT name, scopes FROM tenancy_apitoken").fetchall() == [("ada", sorted(Scope))]
        with pytest.raises(psycopg.Error):
            application.execute("CREATE TABLE mine (id int)")


def test_one_process_prepares_and_runs_the_others_with_the_memory_that_it_has_loaded(product: Product) -> None:
    with product.preparing(*OPTIONS, runs=True, DJANGO_SUPERUSER_PASSWORD=PASSWORD) as preparation, product.children:
        preparation.migrate(product.servers["DATABASE_OWNER_URL"])
        assert preparation.created()["token"].startswith("dc_")
        product.wait_until_ready()
        with psycopg.connect(product.servers["DATABASE_URL"], autocommit=True) as application:
            kinds = "SELECT kind FROM coordinator_process ORDER BY kind"
            eventually(lambda: application.execute(kinds).fetchall() == [("clock",), ("control",), ("web",)])
            assert preparation.child.stop() == 0
            assert application.execute(kinds).fetchall() == []


def test_it_says_what_failed(product: Product) -> None:
    with (
        pytest.raises(ChildError, match="The URL of the database's owner must be a URL such as"),
        product.preparing() as preparation,
    ):
        preparation.migrate("elsewhere")
