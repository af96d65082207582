import os
import subprocess
from pathlib import Path

import pytest
from django.db import connection

from coordinator.cli import fill_in
from embedded.product import BIN, PROJECT
from tests.servers import ordinary_url


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
    assert done.stderr.splitlines() == ["Invalid configuration:", *(f"  {name} is required" for name in missing)]


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
