"""Applies each mutant in a scratch copy and runs the tests that should notice: `python -m tests.mutants [NAME …]`."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants.mutant import REPOSITORY, Mutant, all_mutants

SECONDS = 300
TESTS_FAILED = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", help="the beginning of a name, such as `leases` or `leases-3`")
    names = parser.parse_args().names
    chosen = [each for each in all_mutants() if not names or any(each.name.startswith(name) for name in names)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", ".boot", ".local", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(REPOSITORY, copy, ignore=ignored)
        verdicts = [verdict(mutant, copy) for mutant in chosen]
    print(f"{verdicts.count('killed')} of {len(verdicts)} killed")
    return 0 if verdicts.count("killed") >= 0.95 * len(verdicts) else 1


def verdict(mutant: Mutant, copy: Path) -> str:
    file = copy / mutant.file
    before = file.read_text(encoding="utf-8")
    file.write_text(mutant.changed(before), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
    try:
        code = subprocess.run(command, cwd=copy, capture_output=True, timeout=SECONDS).returncode
        found = {TESTS_FAILED: "killed", 0: "survived"}.get(code, f"broken ({code})")
    except subprocess.TimeoutExpired:
        found = "hung"
    finally:
        file.write_text(before, encoding="utf-8")
    print(f"{found:10} {mutant.name:20} {mutant.promise}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
