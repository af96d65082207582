"""Writes the files that are generated from the code: `python -m docs.generate [FOLDER]`. It needs no server.

The folder is the repository by default. `tests/docs/test_generated.py` compares each file with the code.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Final, cast

import django

from coordinator.cli import fill_in

ROOT: Final = Path(__file__).parents[1]
PAGES: Final[Mapping[str, str]] = {
    # The client reads it, and the pages below.
    "coordinator_client/operations.json": "docs.generators.operations:page",
    "docs/contributing/packages.md": "docs.generators.packages:page",
    "docs/reference/alerts.md": "docs.generators.alerts:page",
    "docs/reference/command-line.md": "docs.generators.command_line:page",
    "docs/reference/contract.md": "docs.generators.documents:contract_page",
    "docs/reference/errors.md": "docs.generators.errors:page",
    "docs/reference/metrics.md": "docs.generators.metrics:page",
    "docs/reference/policies.md": "docs.generators.policies:page",
    "docs/reference/quotas.md": "docs.generators.quotas:page",
    "docs/reference/release.md": "docs.generators.documents:release_page",
    "docs/reference/rest-api.md": "docs.generators.rest_api:page",
    "docs/reference/roles.md": "docs.generators.roles:page",
    "docs/reference/schemas/pipeline-contract.schema.json": "docs.generators.documents:contract_schema",
    "docs/reference/schemas/pipeline-release.schema.json": "docs.generators.documents:release_schema",
    "docs/reference/settings.md": "docs.generators.settings:page",
}
"""The function that returns the text of each file, by its path. They are imported when Django is set up."""
NOTE: Final = "<!-- `python -m docs.generate` writes this page. Change the code that it describes. -->\n"


def text_of(page: str) -> str:
    """Return the text of a page as the code describes itself now. Django must be set up."""
    write = cast("Callable[[], str]", resolve_name(PAGES[page]))
    text = write()
    heading, _, rest = text.partition("\n")
    # MkDocs takes the title of a page from a heading in its first line.
    return f"{heading}\n\n{NOTE}{rest}" if page.endswith(".md") else text


def main(folder: Path = ROOT) -> None:
    fill_in(["help"])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
    django.setup()
    for page in PAGES:
        text, file = text_of(page), folder / page
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
