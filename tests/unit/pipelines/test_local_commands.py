import os
import pty
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from embedded.product import PROJECT
from pipelines.cli import main
from tests.cases import cases

ORDERS = """
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from pipelines import NonRetryable, Pipeline, StepContext

pipeline = Pipeline("org.acme.orders", checkpoint=True)

@dataclass
class Basket:
    customer: str
    prices: list[Decimal]

@dataclass
class Approval:
    approved: bool
    note: str | None = None

@pipeline.step
def read_prices(basket: Basket) -> Iterator[Decimal]:
    print("reading")
    with Path("ran").open("a") as file:
        file.write("read\\n")
    yield from basket.prices

@pipeline.step(name="Add tax")
def tax(price: Decimal) -> Decimal:
    if price < 0:
        raise NonRetryable("a negative price")
    return price * 2

@pipeline.step
def add_up(prices: Iterable[Decimal], context: StepContext) -> Decimal:
    if Path("kill").exists():
        os.kill(os.getpid(), 9)
    if context.attempt < 1 and Path("flaky").exists():
        raise OSError("the service is away")
    return sum(prices, Decimal(0))

pipeline.awaits("Approve", request=Decimal, response=Approval, timeout=timedelta(days=1), group="finance")
pipeline.timer("Cool off", timedelta(hours=1))

@pipeline.step
def finish(approval: Approval) -> str:
    return approval.note or "ok"
"""
BASKET = '{"customer": "x", "prices": ["1", "2"]}'
APPROVED = '--answer=approve={"approved": true}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "orders.py").write_text(ORDERS)
    return tmp_path


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "pipelines", *args]


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}


def pipelines(folder: Path, *args: str, stdin: str = "", **variables: str) -> tuple[int, str, str]:
    env = environment() | variables
    done = subprocess.run(command(*args), cwd=folder, env=env, input=stdin, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_run_shows_each_step_on_stderr_and_prints_the_result(folder: Path) -> None:
    status, printed, shown = pipelines(folder, "run", "orders.py", "--input=-", APPROVED, stdin=BASKET)
    assert (status, printed) == (0, '"ok"\n')
    lines = [line.rpartition(",")[0] or line for line in shown.splitlines()]
    assert lines[:3] == ["reading", "Read prices  2 items", "Add tax      2 items"]
    assert 'Approve      answered by --answer: {"approved": true, "note": null}' in shown
    assert "Cool off     timer of 1:00:00" in lines


@cases(
    ("args", "status", "says"),
    [
        (["--input=orders.txt"], 2, "INPUT_UNREADABLE: --input is not JSON"),
        (["--input=orders.json"], 2, "INPUT_UNREADABLE: there is no file orders.json"),
        (['--input={"customer": 1}'], 2, 'INVALID_INPUT: .*customer: Input should be.*prices: Field.*form {"customer"'),
        ([], 2, """INPUT_MISSING: .*add --input '{"customer": "a", "prices": \\[\\]}'"""),
        ([f"--input={BASKET}"], 2, """ANSWER_MISSING: 'Approve' asks: "6"; .*--answer 'Approve={"approved": true}'"""),
        ([f"--input={BASKET}", "--answer=Approve=7"], 2, 'INVALID_ANSWER: the answer to "Approve" is not of type'),
        ([f"--input={BASKET}", "--answer=Ok=7"], 2, "UNKNOWN_AWAIT: .*write STEP=JSON with one of 'Approve'"),
        (['--input={"customer": "x", "prices": ["1", "-1"]}'], 1, "Add tax      failed at item 2"),
    ],
)
def test_a_mistake_says_what_to_write(folder: Path, args: list[str], status: int, says: str) -> None:
    ended, printed, shown = pipelines(folder, "run", "orders", *args)
    assert (ended, printed) == (status, "")
    assert re.search(says, shown), shown


def test_a_failure_shows_the_frames_of_the_author_and_may_be_retried(folder: Path) -> None:
    (folder / "flaky").touch()
    args = ("run", "orders.py", f"--input={BASKET}", APPROVED)
    status, printed, shown = pipelines(folder, *args)
    assert (status, printed) == (1, "")
    traceback = shown[shown.index("Traceback") :].splitlines()
    assert [line for line in traceback if line.startswith("  File")] == ['  File "orders.py", line 41, in add_up']
    assert traceback[-2] == 'error: OSError: step "Add up": the service is away'
    assert traceback[-1].endswith("add --retries N.")
    status, printed, shown = pipelines(folder, *args, "--retries=1")
    assert (status, printed) == (0, '"ok"\n')
    assert "retries after OSError" in shown
    assert (folder / "ran").read_text() == "read\n" * 2  # the second run resumed at the failed step


def test_a_killed_run_continues_from_its_folder(folder: Path) -> None:
    (folder / "kill").touch()
    args = ("run", "orders.py", f"--input={BASKET}", "--checkpoint-dir=state")
    assert pipelines(folder, *args)[0] == -signal.SIGKILL
    (folder / "kill").unlink()
    status, _, shown = pipelines(folder, *args)
    assert (status, "ANSWER_MISSING" in shown, "continues at 'Add up'; --input is not read" in shown) == (2, True, True)
    status, printed, shown = pipelines(folder, *args[:2], args[3], APPROVED)
    assert (status, printed) == (0, '"ok"\n')
    assert "continues at 'Approve'" in shown
    assert (folder / "ran").read_text() == "read\n"
    assert list((folder / "state").iterdir()) == []


def at_a_terminal(folder: Path, args: list[str], lines: list[str]) -> str:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execve(sys.executable, command(*args), environment())
    shown = b""
    rest = list(lines)
    while True:
        try:
            received = os.read(terminal, 4096)
        except OSError:
            break
        shown += received
        if rest and shown.endswith(b": "):
            os.write(terminal, rest.pop(0).encode() + b"\n")
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    return shown.decode()


def test_the_terminal_asks_until_the_answer_is_valid(folder: Path) -> None:
    answers = [BASKET, "perhaps", "", "yes", "it is fine"]
    shown = at_a_terminal(folder, ["run", "orders.py"], answers)
    assert 'Approve      asks finance: "6"' in shown
    assert shown.count("approved (yes or no): ") == 2
    assert "approved: Input should be a valid boolean" in shown
    assert shown.rstrip().endswith('"it is fine"')


def test_a_new_project_runs_passes_its_test_and_is_released(tmp_path: Path) -> None:
    status, printed, _ = pipelines(tmp_path, "new", "org.acme.Bill-desk")
    folder = tmp_path / "Bill-desk"
    assert (status, printed.splitlines()[2]) == (0, "  pipelines run bill_desk.py --input order.json")
    run = ("run", "bill_desk.py", "--input=order.json")
    assert pipelines(folder, *run)[:2] == (0, '{"number": 1, "text": "9.90 to pay"}\n')
    tested = subprocess.run([sys.executable, "-m", "pytest"], cwd=folder, env=environment(), capture_output=True)
    assert b"2 passed" in tested.stdout
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["name"] == "Bill-desk"
    assert [pipelines(folder, *args)[0] for args in (("build", "bill_desk.py"), ("release",))] == [0, 0]

    module = folder / "bill_desk.py"
    module.write_text(re.sub(r"^#(?! A question) ?", "", module.read_text(), flags=re.MULTILINE))
    assert pipelines(folder, *run, "--answer=Approve=true")[:2] == (0, '{"number": 1, "text": "9.90 to pay"}\n')
    assert pipelines(folder, *run, "--answer=Approve=false")[0] == 1


@cases(
    ("name", "code"),
    [
        ("taken", "FOLDER_NOT_EMPTY"),
        *((name, "MODULE_SHADOWED") for name in ("json", "class", "org.acme.pipelines", "test-shop")),
        *((name, "INVALID_PIPELINE_ID") for name in ("../shop", "7")),
    ],
)
def test_a_name_that_is_taken_or_invalid_is_refused(
    tmp_path: Path, name: str, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir(exist_ok=True)
    (tmp_path / "taken" / "file").touch()
    assert main(["new", name]) == 2
    assert capsys.readouterr().err.startswith(f"error: {code}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
