"""The examples of the guides, as an author copies them into files."""

import re
from pathlib import Path

from tests.docs.commands import FENCE, text_of

PAGES = (
    "docs/pipelines.md",
    "docs/awaits.md",
    "docs/step-policies.md",
    "docs/timeouts.md",
    "docs/items.md",
    "docs/branches.md",
    "docs/child-pipelines.md",
)
FILE = re.compile(r"# (\w+\.py)(, continued)?\n")


def write(folder: Path) -> set[str]:
    """Write each block that begins with the name of a file, and return the names."""
    names = set()
    for language, block in (found for page in PAGES for found in FENCE.findall(text_of(page))):
        if language == "python" and (named := FILE.match(block)):
            with (folder / named[1]).open("a" if named[2] else "x") as file:
                file.write(block)
            names.add(named[1])
    (folder / "pytest.ini").touch()
    return names
