"""`docs/comparison.md` counts what the programs and commands of `benchmarks/peers` contain, and ours run."""

import ast
import importlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from embedded.postgres import remove_place
from embedded.product import BIN
from pipelines.testing import run
from tests.building import eventually
from tests.docs.commands import ROOT, text_of
from tests.receiving import serving

PEERS = ROOT / "benchmarks" / "peers"
DESK = PEERS / "desk"
NIGHTLY = PEERS / "nightly"
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
OURS = "This coordinator"
QUESTION = re.compile(r"to answer: (coordinator questions answer \S+ --response) JSON")


def lines_of_code(file: Path) -> int:
    """Count the lines without blank lines, comments, docstrings and imports."""
    source = file.read_text()
    found: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in LAYOUT:
            found.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and (is_text or isinstance(node, ast.Import | ast.ImportFrom)):
            found.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(found)


def commands_in(file: Path) -> list[list[str]]:
    """Return the commands to the first result, and those to the second release or the schedule."""
    parts = re.split(r"^# .*\n", file.read_text(), flags=re.MULTILINE)[1:]
    return [part.splitlines() for part in map(str.strip, parts)]


@pytest.mark.parametrize(
    ("folder", "programs", "columns"), [(DESK, ["desk.py", "test_desk.py"], 6), (NIGHTLY, ["nightly.py"], 5)]
)
def test_the_tables_count_the_programs_and_the_commands(folder: Path, programs: list[str], columns: int) -> None:
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in text_of("docs/comparison.md").splitlines()]
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
        assert counted[OURS][place] == min(each[place] for each in counted.values())


class Author:
    """A person with one terminal for `pipelines dev`, and another one in the same folder."""

    def __init__(self, folder: Path, ledger: str) -> None:
        self.folder = folder
        programs = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        self._environment = {"PATH": programs, "HOME": str(folder), "LEDGER_URL": ledger}
        self._log = folder / "terminal.log"

    def starts(self, command: str) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            return subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self._environment,
                stdout=log,
                stderr=log,
                # A shell that runs the tests in the background makes its children ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def types(self, command: str) -> None:
        subprocess.run(shlex.split(command), cwd=self.folder, env=self._environment, check=True, timeout=60)

    def sees(self, pattern: str) -> str:
        """Wait until the terminal shows a pattern, and return all that it shows."""
        try:
            eventually(lambda: re.search(pattern, self._log.read_text()), seconds=120, what=pattern)
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self._log.read_text()}") from None
        return self._log.read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    shutil.copy(DESK / "ours" / "desk.py", tmp_path)
    yield tmp_path
    remove_place(tmp_path / ".coordinator" / "postgres")


@pytest.mark.timeout(300)
def test_our_commands_reach_the_first_result_and_the_second_release(folder: Path) -> None:
    """The first execution waits for its approval while its release is replaced, and finishes on its own code."""
    (_, dev, first_answer), (second_answer,) = commands_in(DESK / "ours" / "commands.txt")
    with serving(b"L-1") as ledger:
        author = Author(folder, ledger.url())
        session = author.starts(dev)
        try:
            question = QUESTION.search(author.sees(QUESTION.pattern))
            assert question is not None
            source = folder / "desk.py"
            source.write_text(source.read_text().replace("is booked", "is now booked"))
            author.sees(r"(?s)waiting .*submitted  \S+  dev-2\n.*waiting ")
            author.types(f"{question[1]} {first_answer.partition('--response ')[2]}")
            author.sees(r"succeeded  \S+  dev-1  .* s  \"order 1 is booked as L-1\"")
            _, newer = QUESTION.findall(author.sees("."))
            author.types(f"{newer} {second_answer.partition('--response ')[2]}")
            author.sees(r"succeeded  \S+  dev-2  .* s  \"order 1 is now booked as L-1\"")
            session.send_signal(signal.SIGINT)
            assert session.wait(60) == 0
        finally:
            session.kill()
            session.wait()
    # The coordinator that `pipelines dev` started has ended with it.
    with pytest.raises(subprocess.CalledProcessError):
        author.types("coordinator executions list")


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
