"""The examples of docs/pipelines.md, as an author copies them into files."""

import re
from pathlib import Path

from tests.docs.commands import FENCE, text_of

FILE = re.compile(r"# (\w+\.py)(, continued)?\n")


def write(folder: Path) -> set[str]:
    """Write each block that begins with the name of a file, and return the names."""
    names = set()
    for language, block in FENCE.findall(text_of("docs/pipelines.md")):
        if language == "python" and (named := FILE.match(block)):
            with (folder / named[1]).open("a" if named[2] else "x") as file:
                file.write(block)
            names.add(named[1])
    (folder / "pytest.ini").touch()
    return names
