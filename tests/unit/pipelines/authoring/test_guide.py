"""The table of errors in the guide for authors is complete."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[4]


def test_every_error_code_is_in_the_guide_and_no_other() -> None:
    raised: set[str] = set()
    for file in (REPOSITORY / "pipelines").rglob("*.py"):
        raised |= set(re.findall(r'DefinitionError\(\s*"?([A-Z_]+)\b', file.read_text(encoding="utf-8")))
    table = (REPOSITORY / "docs/pipelines.md").read_text(encoding="utf-8").partition("## Errors")[2]
    cells = [row.partition("| ")[2].partition(" |")[0] for row in table.splitlines()]
    assert {code for cell in cells for code in re.findall(r"`([A-Z_]+)`", cell)} == raised
