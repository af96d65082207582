import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.db import connection

from coordinator.cli import fill_in
from coordinator.setting_meanings import MEANINGS
from embedded.children import ChildError
from embedded.product import BIN, PROJECT, Product
from tenancy.roles import Scope
from tests.broker import broker_urls
from tests.building import eventually
from tests.database_template import empty_database
from tests.servers import NUMBER, ordinary_url


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "coordinator", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_some_commands_need_no_setting(subtests: pytest.Subtests, tmp_path: Path) -> None:
    for arguments, output in (
        ([], "setup_database"),
        (["worker_key", "--help"], "--replace"),
        (["makemigrations", "--check"], "No changes detected"),
        (["collectstatic", "--noinput", "--dry-run"], "static files"),
    ):
        with subtests.test(command=" ".join(arguments)):
            done = run(arguments, STATIC_ROOT=str(tmp_path))
            assert done.returncode == 0, done.stderr
            assert output in done.stdout


def test_some_commands_need_only_the_database(django_db_setup: None, tmp_path: Path) -> None:
    """`test_setup` runs `setup_database` and `migrate` in such an environment."""
    url = ordinary_url(str(connection.settings_dict["NAME"]))
    done = run(["broker_acl", f"--passwords={tmp_path / 'passwords'}"], DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "user default reset"
    assert "DATABASE_URL is required" in run(["broker_acl", "--passwords=folder"]).stderr


def test_other_commands_need_all_settings() -> None:
    done = run(["check"])
    assert done.returncode == 1
    missing = ("SECRET_KEY", "WORKER_SECRET", "DATABASE_URL", "REDIS_URL")
    assert done.stderr.splitlines() == [
        "Invalid configuration:",
        *(f"  {name} is required. {MEANINGS[name]}" for name in missing),
    ]


def test_values_that_are_set_are_kept_and_each_run_gets_other_secrets() -> None:
    environment = {"SECRET_KEY": "k" * 40, "WORKER_SECRET_FILE": "/run/secrets/worker", "REDIS_URL": ""}
    fill_in(["migrate"], environment)
    assert environment == {**environment, "SECRET_KEY": "k" * 40, "REDIS_URL": "redis://127.0.0.1:1/0"}
    assert environment.keys() == {"SECRET_KEY", "WORKER_SECRET_FILE", "REDIS_URL"}

    first, second = dict[str, str](), dict[str, str]()
    fill_in([], first)
    fill_in([], second)
    assert first["SECRET_KEY"] != second["SECRET_KEY"]
    assert len({first["SECRET_KEY"], first["WORKER_SECRET"]}) == 2


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
