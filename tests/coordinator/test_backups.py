"""Backups are complete or absent, and are restored completely or not at all."""

import json
import shutil
import stat
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as current
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import DjangoDbBlocker

from coordinator.backups import programs
from coordinator.backups.errors import BackupError
from releases.artifacts import blob_lock
from releases.artifacts.store import artifact_store
from releases.models import Artifact, Release
from tests import making
from tests.artifact_stores import use_local
from tests.database_template import connected_to, empty_database
from tests.race_database import emptied
from tests.s3 import S3Place, use_s3
from tests.servers import NUMBER

TABLES = (
    "tenancy_tenant",
    "releases_release",
    "releases_activation",
    "executions_execution",
    "executions_executionevent",
)


@pytest.fixture(autouse=True)
def release(race_database: str, django_db_blocker: DjangoDbBlocker) -> Iterator[Release]:
    """An installation with one execution, to which Django is connected."""
    with django_db_blocker.unblock(), connected_to(race_database), emptied():
        owner, release = making.ready()
        making.execution(owner, "kept")
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_session VALUES ('a-session', 'its data', now() + interval '1 hour')")
        yield release
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_session")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


@pytest.fixture
def elsewhere(settings: Any, tmp_path: Path) -> Iterator[Path]:
    """The path of an empty store. The database `restored` is empty."""
    with empty_database(f"test_{NUMBER}_restored"):
        yield tmp_path / "restored"


def backup(folder: Path) -> str:
    output = StringIO()
    call_command("backup", str(folder), stdout=output)
    return output.getvalue()


def restore(folder: Path, *options: str) -> str:
    output = StringIO()
    call_command("restore", str(folder), *options, stdout=output)
    return output.getvalue()


def refused(folder: Path, *options: str) -> str:
    """Return why the backup is not restored. The database must stay empty."""
    with connected_to(f"test_{NUMBER}_restored"):
        with pytest.raises(CommandError) as caught:
            restore(folder, *options)
        assert connection.introspection.table_names() == []
    return str(caught.value)


def counts() -> dict[str, int]:
    with connection.cursor() as cursor:
        found = {}
        for table in TABLES:
            cursor.execute(f"SELECT count(*) FROM {table}")
            [found[table]] = cursor.fetchone()
    return found


def test_a_restored_backup_has_every_row_and_every_artifact(
    release: Release, folder: Path, elsewhere: Path, settings: Any
) -> None:
    before = counts()
    assert "1 artifacts" in backup(folder)
    artifact = Artifact.objects.get(release=release)
    use_local(settings, elsewhere)
    with connected_to(f"test_{NUMBER}_restored"):
        assert "in flight runs again" in restore(folder)
        assert counts() == before
        assert artifact_store().verified(artifact.digest) is not None
        with connection.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege(%s, 'executions_execution', 'SELECT')", ["coordinator"])
            assert cursor.fetchone() == (True,)
            cursor.execute("SELECT count(*) FROM django_session")
            assert cursor.fetchone() == (0,)
            cursor.execute("SELECT act, object FROM tenancy_auditentry ORDER BY id DESC LIMIT 1")
            assert cursor.fetchone() == ("backup.restore", "backup")


def test_only_the_account_that_made_a_backup_can_read_it(folder: Path) -> None:
    backup(folder)
    paths = [folder, *folder.rglob("*")]
    assert len(paths) > 5
    assert [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077] == []


def test_a_backup_contains_no_secret_of_the_settings(folder: Path) -> None:
    backup(folder)
    password = connection.get_connection_params()["password"]
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in (current.SECRET_KEY, current.WORKER_SECRET, password):
            assert secret.encode() not in content


def test_a_backup_overwrites_nothing(folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(CommandError, match="exists already"):
        backup(folder)
    assert list(folder.iterdir()) == []


def test_a_backup_that_fails_leaves_nothing(folder: Path, settings: Any) -> None:
    shutil.rmtree(settings.ARTIFACT_ROOT)
    with pytest.raises(CommandError, match="artifact store is not in its folder"):
        backup(folder)
    assert list(folder.parent.glob("backup*")) == []


def test_the_folder_of_a_killed_backup_is_named(folder: Path) -> None:
    unfinished = folder.with_name("backup.unfinished")
    unfinished.mkdir()
    with pytest.raises(CommandError, match="was killed"):
        backup(folder)
    assert unfinished.exists()


def test_an_artifact_that_is_damaged_in_the_store_is_reported(release: Release, folder: Path) -> None:
    digest = Artifact.objects.get(release=release).digest
    file = making.stored_file(digest)
    file.chmod(0o600)
    file.write_bytes(b"damaged")
    with pytest.raises(CommandError, match=f"complete except for 1 artifacts .* {digest}"):
        backup(folder)
    assert (folder / "manifest.json").exists()


def test_only_one_backup_runs_at_a_time(folder: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with blob_lock.no_removals():
            held.set()
            done.wait(60)
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    try:
        with pytest.raises(CommandError, match="Another backup"):
            backup(folder)
    finally:
        done.set()
        other.join()


def test_an_incomplete_manifest_is_refused(folder: Path, elsewhere: Path) -> None:
    backup(folder)
    file = folder / "manifest.json"
    file.write_bytes(file.read_bytes()[:-10])
    assert "manifest.json of this backup is damaged" in refused(folder)


@pytest.mark.parametrize("name", ["database.dump", "blobs.jsonl"])
def test_a_damaged_file_is_found_before_anything_changes(folder: Path, elsewhere: Path, name: str) -> None:
    backup(folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    assert "damaged" in refused(folder)


def test_a_damaged_artifact_is_found_before_anything_changes(release: Release, folder: Path, elsewhere: Path) -> None:
    backup(folder)
    [blob] = (path for path in (folder / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    assert f"1 blobs are missing or damaged: sha256:{blob.name}" in refused(folder)


def test_a_folder_without_a_manifest_is_no_backup(tmp_path: Path, elsewhere: Path) -> None:
    assert "is no backup" in refused(tmp_path)


def test_a_backup_of_a_newer_version_is_refused(folder: Path, elsewhere: Path) -> None:
    backup(folder)
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    content["migrations"].append("executions.9999_later")
    file.write_text(json.dumps(content))
    assert "does not know its migration executions.9999_later" in refused(folder)


def test_a_database_with_tables_is_not_overwritten(folder: Path) -> None:
    before = counts()
    backup(folder)
    with pytest.raises(CommandError, match="database is not empty"):
        restore(folder)
    assert counts() == before


@pytest.mark.xdist_group("s3_server")
def test_artifacts_on_a_storage_server_are_listed_and_checked(
    folder: Path, elsewhere: Path, settings: Any, s3_place: S3Place
) -> None:
    use_s3(settings, s3_place)
    release = making.registered(making.tenant(), "2.0")
    digest = Artifact.objects.get(release=release).digest
    with pytest.raises(CommandError, match="1 artifacts that are missing"):
        backup(folder)  # the other release's artifact is in the local store
    listed = [json.loads(line) for line in (folder / "blobs.jsonl").read_text().splitlines()]
    assert {each["key"] for each in listed if each["digest"] == digest} == {artifact_store().key(digest)}
    assert not (folder / "blobs").exists()
    assert "1 blobs are missing" in refused(folder)
    with connected_to(f"test_{NUMBER}_restored"):
        assert "with 1 artifacts" in restore(folder, "--allow-missing-artifacts")


def test_programs_that_are_older_than_the_server_are_not_used() -> None:
    with pytest.raises(BackupError, match=r"no pg_dump of version 99 or later. Found: .*pg_dump"):
        programs.find("pg_dump", 990_001)
