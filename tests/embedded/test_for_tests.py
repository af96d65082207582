"""All processes of a run of pytest share one set of servers, which stop at its end."""

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
    with open("workers", "a") as workers:
        workers.write(os.environ["PYTEST_XDIST_WORKER"] + " " + os.environ["DATABASE_URL"] + chr(10))
"""


def test_all_processes_of_a_run_share_its_servers(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "temporary").mkdir()
    run = subprocess.run(
        [sys.executable, *["-m", "pytest", "-q", "-n", "2", "-p", "no:django", "-c", "/dev/null", "--rootdir=."]],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [line.split() for line in (tmp_path / "workers").read_text().splitlines()]
    assert {worker for worker, _ in lines} == {"gw0", "gw1"}
    assert len({url for _, url in lines}) == 1
    assert not list((tmp_path / "temporary").glob("durable-coordinator-*"))
