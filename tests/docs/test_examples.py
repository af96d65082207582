import re
import subprocess
import sys
from pathlib import Path

from tests.docs import examples
from tests.docs.commands import ROOT


def test_the_tests_in_the_examples_pass(tmp_path: Path) -> None:
    made = examples.write(tmp_path)
    assert {"test_orders.py", "test_compatible.py", "test_ledger.py", "test_quotes.py"} <= made
    pipelines = (sys.executable, "-m", "pipelines")
    run(tmp_path, *pipelines, "build", "acme_invoices:pipeline", "--out", "invoices")
    run(tmp_path, *pipelines, "build", "acme_orders:pipeline", "--out", "built")
    run(tmp_path, *pipelines, "release", "--out", "built", "--release-version", "1.0")
    [descriptor] = (tmp_path / "built").rglob("pipeline-release.json")
    (tmp_path / "dist").mkdir()
    descriptor.parent.rename(tmp_path / "dist/1.0")
    passed = run(tmp_path, sys.executable, "-m", "pytest", "-q", "--ignore=test_hosted.py")
    assert re.search(r"^\d+ passed", passed, re.MULTILINE)


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
