import re
import subprocess
import sys
from pathlib import Path

from tests.docs import examples
from tests.docs.commands import FENCE, ROOT, text_of


def test_the_tests_in_the_examples_pass(tmp_path: Path) -> None:
    made = examples.write(tmp_path)
    assert {"test_orders.py", "test_compatible.py", "test_ledger.py", "test_quotes.py", "test_acme_charges.py"} <= made
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
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_of_inside_a_step_runs(tmp_path: Path) -> None:
    [example] = [block for language, block in FENCE.findall(text_of("docs/inside-a-step.md")) if language == "python"]
    (tmp_path / "acme_import.py").write_text(example)
    values = "config={'PAGE_SIZE': 10, 'ERP_URL': 'http://erp.example'}, secrets={'ERP_TOKEN': 'test-token'}"
    test = f"from pipelines import testing; print(testing.run(acme_import.pipeline, {{'rows': 25}}, {values}).value)"
    assert run(tmp_path, sys.executable, "-c", f"import acme_import; {test}") == "Import(rows=25)\n"
