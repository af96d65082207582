"""The examples of the pages for authors, as an author copies them into files."""

import re
from pathlib import Path

from tests.docs.commands import FENCE, text_of

PAGES = (
    "docs/reference/language.md",
    "docs/how-to/write-a-pipeline.md",
    "docs/how-to/test-a-pipeline.md",
    "docs/how-to/log-and-report-progress.md",
    "docs/how-to/use-config-and-secrets.md",
    "docs/how-to/retry-steps.md",
    "docs/how-to/limit-the-time-of-a-step.md",
    "docs/how-to/process-many-items.md",
    "docs/how-to/run-branches.md",
    "docs/how-to/call-another-pipeline.md",
    "docs/how-to/ask-a-person.md",
    "docs/how-to/wait-for-a-system.md",
    "docs/how-to/wait-for-a-time.md",
    "docs/how-to/find-executions-by-value.md",
    "docs/how-to/limit-concurrency.md",
)
FILE = re.compile(r"# (\w+\.py)\n")


def of(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return [block for language, block in FENCE.findall(text_of(page)) if language == "python"]


def write(folder: Path) -> set[str]:
    """Write each block, which begins with the name of its file, and return the names."""
    names = set()
    for block in (block for page in PAGES for block in of(page)):
        named = FILE.match(block)
        assert named, f"a block without the name of its file: {block}"
        with (folder / named[1]).open("x") as file:
            file.write(block)
        names.add(named[1])
    (folder / "pytest.ini").touch()
    return names
