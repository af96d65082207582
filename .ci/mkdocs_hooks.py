"""Tells MkDocs the version of the product, the pages of each folder, and which pages the search shows last."""

import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
LISTED = re.compile(r"^## (?P<heading>.+)$|^(?:\*|\d+\.) \[[^]]+\]\((?P<page>[\w-]+\.md)\)", re.MULTILINE)

BOOSTS = {"adr/": 0.2, "contributing/": 0.2, "reference/settings.md": 2}
"""Only contributors look for the first ones. A user who types the name of a setting asks what it means."""


def on_config(config: MkDocsConfig) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    config.site_name += f" {project['version']}"
    config.copyright = f"{config.site_name}, {project['license']}"
    config.nav = [_expanded(entry, Path(config.docs_dir)) for entry in config.nav or ()]


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    for place, boost in BOOSTS.items():
        if page.file.src_uri.startswith(place):
            page.meta.setdefault("search", {"boost": boost})
    return markdown


def _expanded(entry: Any, docs: Path) -> Any:
    """Replace a folder, such as `{"Reference": "reference/"}`, with its pages."""
    match entry:
        case dict() if (found := next(iter(entry.items())))[1] == f"{Path(str(found[1]))}/":
            return {found[0]: pages(docs / found[1], found[1])}
    return entry


def pages(folder: Path, prefix: str) -> list[Any]:
    """Return the index of a folder and the pages that it lists, under its headings. Without an index: each page."""
    index = folder / "index.md"
    if not index.exists():
        return sorted(f"{prefix}{page.name}" for page in folder.glob("*.md"))
    groups: dict[str, list[str]] = {}
    heading = ""
    for line in LISTED.finditer(index.read_text(encoding="utf-8")):
        heading = line["heading"] or heading
        if line["page"]:
            groups.setdefault(heading, []).append(f"{prefix}{line['page']}")
    if len(groups) == 1:
        return [f"{prefix}index.md", *groups.popitem()[1]]
    return [f"{prefix}index.md", *({heading: group} for heading, group in groups.items())]
