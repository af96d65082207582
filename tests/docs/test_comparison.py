"""`docs/concepts/when-to-use-it.md` counts what `benchmarks/peers` contains, and our programs run."""

import ast
import importlib
import io
import os
import re
import subprocess
import sys
import tokenize
from datetime import date
from pathlib import Path

import pytest

from pipelines.testing import run
from tests.docs.commands import ROOT, text_of
from tests.receiving import serving

PEERS = ROOT / "benchmarks" / "peers"
DESK = PEERS / "desk"
NIGHTLY = PEERS / "nightly"
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
OURS = "This coordinator"


def lines_of_code(file: Path) -> int:
    """Count the lines without blank lines, comments, docstrings and imports."""
    source = file.read_text()
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def commands_in(file: Path) -> list[list[str]]:
    """Return the commands to the first result, and those to the second release or the schedule."""
    parts = re.split(r"^# .*\n", file.read_text(), flags=re.MULTILINE)[1:]
    return [part.splitlines() for part in map(str.strip, parts)]


@pytest.mark.parametrize(
    ("folder", "programs", "columns"), [(DESK, ["desk.py", "test_desk.py"], 6), (NIGHTLY, ["nightly.py"], 5)]
)
def test_the_tables_count_the_programs_and_the_commands(folder: Path, programs: list[str], columns: int) -> None:
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in text_of("docs/concepts/when-to-use-it.md").splitlines()
    ]
    documented = {
        row[0]: [int(count) for count in row[1 : len(programs) + 3]]
        for row in rows
        if len(row) == columns and row[1].isdigit()
    }
    counted = {}
    for file in folder.glob("*/*.txt"):
        name = {"ours/commands": OURS, "ours/explicit": f"{OURS}, explicit", "dbos/commands": "DBOS"}.get(
            f"{file.parent.name}/{file.stem}", file.parent.name.capitalize()
        )
        lines = [lines_of_code(file.with_name(program)) for program in programs]
        counted[name] = [*lines, *map(len, commands_in(file))]
    assert documented == counted
    for place in (0, -2):
        assert counted[OURS][place] == min(counts[place] for counts in counted.values())


def test_our_test_of_the_pipeline_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."]
    subprocess.run([*command, "-o", "pythonpath=."], cwd=DESK / "ours", check=True, timeout=120)


def test_our_nightly_pipeline_reminds_and_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(NIGHTLY / "ours")
    nightly = importlib.import_module("nightly")
    with serving(b'["inv-1", "inv-2"]') as ledger:
        monkeypatch.setenv("LEDGER_URL", ledger.url())
        reminded = run(nightly.pipeline, date(2026, 12, 1)).value
    assert reminded == nightly.Reminded(2, [])
