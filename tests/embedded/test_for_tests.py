"""The servers of a run of pytest: one set for all its processes, gone at its end."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFTEST = "from embedded.backing import for_tests\nfor_tests()\n"
TEST = """
import os
import psycopg
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(number):
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("SELECT 1")
    with open("seen", "a") as seen:
        seen.write(os.environ["PYTEST_XDIST_WORKER"] + " " + os.environ["DATABASE_URL"] + chr(10))
"""


def test_the_processes_of_one_run_share_the_servers_that_the_first_started(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "temporary").mkdir()
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "-p",
            "no:django",
            "-c",
            "/dev/null",
            "--rootdir=.",
        ],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert {worker for worker, _ in seen} == {"gw0", "gw1"}
    assert len({url for _, url in seen}) == 1
    assert not list((tmp_path / "temporary").glob("durable-coordinator-*"))
