import os
import signal
import time
from pathlib import Path

import pytest

from embedded.children import Child, Children
from embedded.guard import descendants
from tests.building import eventually

SLEEP = ["sleep", "600"]


def gone(pid: int) -> bool:
    """True if the process has ended. An orphan may be a zombie until the init process waits for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


def test_signals_are_forwarded_to_the_command(log: Path) -> None:
    child = Child(["sh", "-c", "trap 'exit 5' TERM; echo ready; while true; do sleep 0.1; done"], name="child", log=log)
    eventually(lambda: "ready" in log.read_text(), seconds=10)
    assert child.stop() == 5


def test_the_descendants_of_a_killed_command_are_killed(log: Path) -> None:
    # `wait` keeps the shell: some shells execute their last command in place of themselves.
    child = Child(["sh", "-c", "setsid -f sleep 600; sleep 600 & sleep 600 & echo ready; wait"], name="family", log=log)
    eventually(lambda: "ready" in log.read_text(), seconds=10)
    everyone = descendants(child.guard_pid)
    assert len(everyone) == 4
    child.kill()
    assert all(gone(pid) for pid in everyone)


def test_a_killed_guard_ends_the_command(log: Path) -> None:
    child = Child(SLEEP, name="child", log=log)
    os.kill(child.guard_pid, signal.SIGKILL)
    eventually(lambda: gone(child.pid), seconds=5)
    child.wait()


def test_all_children_share_one_grace_period(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        for number in range(3):
            children.start(f"stuck-{number}", ["sh", "-c", "trap '' TERM; echo ready; while true; do sleep 0.1; done"])
        quick = children.start("quick", SLEEP)
        eventually(lambda: all("ready" in child.log_tail() for child in children.started[:3]), seconds=10)
        children.require_running()
        every = list(children.started)
        begin = time.monotonic()
        children.stop(grace=0.5)
        assert time.monotonic() - begin < 2
    assert quick.status == 128 + signal.SIGTERM
    assert [child.status for child in every[:3]] == [128 + signal.SIGKILL] * 3
