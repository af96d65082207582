import re
import runpy
import subprocess
import sys
from pathlib import Path

from outbox import outbox
from tests.docs import examples
from tests.docs.commands import ROOT

COMPILED = (
    "from pipelines.authoring.compiler import compile_contract; from pipelines.authoring.reference import find; "
    "[compile_contract(find(f'{name}:pipeline')) for name in %r]"
)


def test_the_tests_in_the_examples_pass(tmp_path: Path) -> None:
    made = examples.write(tmp_path)
    modules = sorted(name.removesuffix(".py") for name in made if name.startswith("acme_"))
    assert len(modules) > 12
    run(tmp_path, sys.executable, "-c", COMPILED % modules)
    run(tmp_path, sys.executable, "-m", "pipelines", "release", "acme_baskets.py", "--release-version", "1.0")
    passed = run(tmp_path, sys.executable, "-m", "pytest", "-q", "--ignore=test_hosted.py")
    assert re.search(r"^\d+ passed", passed, re.MULTILINE)
    is_genuine = runpy.run_path(str(tmp_path / "webhook_signature.py"))["is_genuine"]
    header = outbox.signed(b"{}", ["former", "new"])[outbox.SIGNATURE_HEADER]
    assert [is_genuine(key, header, b"{}") for key in ("former", "new", "other")] == [True, True, False]


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
