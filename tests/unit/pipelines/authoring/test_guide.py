"""The code in the guide for authors runs, and its table of errors is complete."""

import re
from pathlib import Path

from pipelines import StepContext
from pipelines.failures import Failed
from pipelines.release.packaging import build
from pipelines.worker.runner import Completed, Suspended, run
from tests.unit.pipelines.conftest import Author

REPOSITORY = Path(__file__).resolve().parents[4]
GUIDE = (REPOSITORY / "docs/pipelines.md").read_text(encoding="utf-8")
FIRST, _, AWAITS, MORE = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


def test_the_pipeline_of_the_guide_builds_and_runs(author: Author, context: StepContext, tmp_path: Path) -> None:
    author.write("acme_orders.py", FIRST)
    pipeline = author.load("acme_orders:pipeline")
    assert build(pipeline, tmp_path / "dist").path.name == "org.acme.orders.zip"
    basket = {"customer": "eva", "lines": ["a=10.00", "b=5.00"]}
    assert run(pipeline, basket, start=0, stop=-1, context=context) == Completed(["18.000"], many=False)
    failed = run(pipeline, {**basket, "lines": ["a=-1"]}, start=0, stop=-1, context=context)
    assert isinstance(failed, Failed)
    assert not failed.retryable


def test_the_await_of_the_guide_suspends(author: Author, context: StepContext) -> None:
    author.write("acme_orders.py", FIRST)
    author.write("approved_orders.py", AWAITS + MORE)
    pipeline = author.load("approved_orders:pipeline")
    basket = {"customer": "eva", "lines": ["a=10.00"]}
    suspended = run(pipeline, basket, start=0, stop=-1, context=context)
    assert isinstance(suspended, Suspended)
    assert suspended.requests == ["12.000"]


def test_every_error_code_is_in_the_guide_and_no_other() -> None:
    raised: set[str] = set()
    for file in (REPOSITORY / "pipelines").rglob("*.py"):
        raised |= set(re.findall(r'DefinitionError\(\s*"?([A-Z_]+)\b', file.read_text(encoding="utf-8")))
    table = GUIDE.partition("## Errors")[2]
    documented = {
        code
        for row in table.splitlines()
        for code in re.findall(r"`([A-Z_]+)`", row.partition("| ")[2].partition(" |")[0])
    }
    assert documented == raised
