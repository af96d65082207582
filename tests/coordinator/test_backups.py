import json
import os
import signal
import stat
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from threading import Thread, main_thread
from typing import Any

import pytest
from celery import current_app
from django.conf import settings as current
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection
from pytest_django import DjangoDbBlocker

from coordinator import backups
from coordinator.monitoring import process
from governance.retirement.retirement import retire
from releases.artifacts import blobs, soundness
from releases.models import Artifact, Blob, Release
from tests import making
from tests.artifact_stores import use_local
from tests.building import eventually
from tests.database_template import connected_to, empty_database
from tests.race_database import emptied
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
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    with empty_database(f"test_{NUMBER}_restored"):
        yield tmp_path / "restored"


def backup(folder: Path) -> str:
    return ran("backup", folder)


def ran(command: str, folder: Path) -> str:
    output = StringIO()
    call_command(command, str(folder), stdout=output)
    return output.getvalue()


def refused(folder: Path) -> str:
    """Return why the backup is not restored. The database must stay empty."""
    with connected_to(f"test_{NUMBER}_restored"):
        with pytest.raises(CommandError) as caught:
            ran("restore", folder)
        assert connection.introspection.table_names() == []
    return str(caught.value)


def counts() -> dict[str, int]:
    with connection.cursor() as cursor:
        rows_by_table = {}
        for table in TABLES:
            cursor.execute(f"SELECT count(*) FROM {table}")
            [rows_by_table[table]] = cursor.fetchone()
    return rows_by_table


def test_a_restored_backup_is_complete(release: Release, folder: Path, elsewhere: Path, settings: Any) -> None:
    before = counts()
    assert "1 artifacts" in backup(folder)
    password = connection.get_connection_params()["password"]
    for path in [folder, *folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, "only the account of the backup can read it"
        content = path.read_bytes() if path.is_file() else b""
        for secret in (current.SECRET_KEY, current.WORKER_SECRET, password):
            assert secret.encode() not in content
    artifact = Artifact.objects.get(release=release)
    use_local(settings, elsewhere)
    with connected_to(f"test_{NUMBER}_restored"):
        assert "in flight runs again" in ran("restore", folder)
        assert counts() == before
        soundness.require_present(Blob.objects.get(digest=artifact.digest))
        with connection.cursor() as cursor:
            cursor.execute("SELECT has_table_privilege(%s, 'executions_execution', 'SELECT')", ["coordinator"])
            assert cursor.fetchone() == (True,)
            cursor.execute("SELECT count(*) FROM django_session")
            assert cursor.fetchone() == (0,)
            cursor.execute("SELECT act, object FROM tenancy_auditentry ORDER BY id DESC LIMIT 1")
            assert cursor.fetchone() == ("backup.restore", "backup")


def test_a_backup_overwrites_nothing(folder: Path) -> None:
    folder.mkdir()
    with pytest.raises(CommandError, match="exists already"):
        backup(folder)
    assert list(folder.iterdir()) == []
    folder.rename(folder.with_name("backup.unfinished"))
    with pytest.raises(CommandError, match="was killed"):
        backup(folder)


def test_no_backup_is_made_of_a_former_primary(folder: Path) -> None:
    broker: Any
    with connection.cursor() as cursor, current_app.pool.acquire() as broker:
        cursor.execute("SELECT system_identifier FROM pg_control_system()")
        broker.default_channel.client.zadd(process.TIMELINES_KEY, {str(cursor.fetchone()[0]): 1_000})
        connection.close()
        try:
            with pytest.raises(OperationalError, match="Refused the database server"):
                backup(folder)
        finally:
            broker.default_channel.client.delete(process.TIMELINES_KEY)
    assert list(folder.parent.iterdir()) == []


def test_a_damaged_file_is_found_before_anything_changes(folder: Path, elsewhere: Path) -> None:
    backup(folder)
    for name in ("manifest.json", "database.dump", "blobs.jsonl"):
        before = (folder / name).read_bytes()
        content = bytearray(before)
        content[0] ^= 1
        (folder / name).write_bytes(content)
        assert "damaged" in refused(folder)
        (folder / name).write_bytes(before)
    [blob] = (path for path in (folder / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(b"damaged")
    assert f"1 blobs are missing or damaged: sha256:{blob.name}" in refused(folder)


def test_a_backup_says_what_it_lacks_whether_the_damage_is_known_or_not(release: Release, folder: Path) -> None:
    lost = making.registered(release.pipeline.tenant, "lost")
    file = making.stored_file(lost.artifacts.get().digest)
    good = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(good[::-1])
    for number in range(2):
        made = folder.with_name(f"backup-{number}")
        with pytest.raises(CommandError, match=rf"lacks 1 artifacts .*{file.name}.* --all") as caught:
            backup(made)
        manifest = json.loads((made / "manifest.json").read_text())
        copied = [path for path in (made / "blobs").rglob("*") if path.is_file()]
        assert (caught.value.returncode, manifest["blobCount"], manifest["blobsMissing"]) == (3, len(copied), 1)
        assert len(copied) == 1
        assert blobs.check(f"sha256:{file.name}").state == "DAMAGED"
    file.write_bytes(good)
    assert "2 artifacts" in backup(folder), "the store has the bytes again"
    file.unlink()
    retire(lost, actor="user:test", reason="lost")
    assert "1 artifacts" in backup(folder.with_name("retired")), "no release needs the bytes"


def test_neither_a_newer_backup_is_restored_nor_one_into_a_database_with_tables(folder: Path, elsewhere: Path) -> None:
    before = counts()
    backup(folder)
    with pytest.raises(CommandError, match="database is not empty"):
        ran("restore", folder)
    assert counts() == before
    file = folder / "manifest.json"
    content = json.loads(file.read_text())
    content["migrations"].append("executions.9999_later")
    file.write_text(json.dumps(content))
    assert "does not know its migration executions.9999_later" in refused(folder)


def test_the_program_of_an_interrupted_restore_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, started = tmp_path / "pg_restore", tmp_path / "started"
    version = '[ "$1" = --version ] && { echo "pg_restore (PostgreSQL) 99.0"; exit; }'
    program.write_text(f"#!/bin/sh\n{version}\necho $$ > {started}.new && mv {started}.new {started}\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def interrupt() -> None:
        eventually(started.exists, what="the program")
        signal.pthread_kill(main_thread().ident or 0, signal.SIGUSR1)

    # SIGINT is ignored in background jobs of shells.
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    interruption = Thread(target=interrupt)
    interruption.start()
    connection.ensure_connection()
    with pytest.raises(KeyboardInterrupt):
        backups.restore_dump(connection.connection, tmp_path / "dump")
    interruption.join()
    signal.signal(signal.SIGUSR1, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)
