"""The examples of the pages for authors, as an author copies them into files."""

import re
from pathlib import Path

from tests.docs.commands import FENCE, text_of

AUTHORS = (
    "write-a-pipeline develop-locally test-a-pipeline debug-a-step log-and-report-progress use-config-and-secrets "
    "retry-steps limit-the-time-of-a-step process-many-items run-branches call-another-pipeline ask-a-person "
    "wait-for-a-system wait-for-a-time find-executions-by-value limit-concurrency schedule-executions"
).split()
PAGES = ("docs/reference/language.md", *(f"docs/how-to/{name}.md" for name in AUTHORS))
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
