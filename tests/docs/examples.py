"""The examples of the pages for authors, as an author copies them into files."""

import re
from pathlib import Path

from tests.docs.commands import DOCUMENTS, FENCE, text_of

PAGES = [page for page in DOCUMENTS if page.startswith(("docs/how-to/", "docs/reference/language"))]
FILE = re.compile(r"# (\w+\.py)\n")


def of(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return [block for language, block in FENCE.findall(text_of(page)) if language == "python"]


def write(folder: Path) -> set[str]:
    """Write each block that begins with the name of a file, and return the names."""
    names = set()
    for block in (block for page in PAGES for block in of(page)):
        if named := FILE.match(block):
            with (folder / named[1]).open("x") as file:
                file.write(block)
            names.add(named[1])
    (folder / "pytest.ini").touch()
    return names
