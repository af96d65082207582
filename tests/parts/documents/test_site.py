import re
import tomllib
from pathlib import Path

import pipelines
from embedded.product import PROJECT
from pipelines import client, testing

LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']?([^"' >]+)|<link\b[^>]*\bhref=["']?([^"' >]+)""")
LOADED_BY_STYLE = re.compile(r"""(?:url\(|@import )["']?([^"')]+)""")


def test_pages_load_nothing_from_other_machines_and_show_the_version(site: Path) -> None:
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert {site / "index.html", site / "reference/python.html"} <= set(pages)
    assert [page for page, html in pages.items() if f"Durable coordinator {version}" not in html] == []
    loaded = {"".join(found) for html in pages.values() for found in LOADED.findall(html)}
    loaded |= {url for file in site.rglob("*.css") for url in LOADED_BY_STYLE.findall(file.read_text(encoding="utf-8"))}
    assert loaded
    assert {url for url in loaded if re.match(r"(?!data:)\w*:?//", url)} == set()


def test_the_reference_of_python_has_every_public_name(site: Path) -> None:
    html = (site / "reference/python.html").read_text(encoding="utf-8")
    names = {f"{module.__name__}.{name}" for module in (pipelines, testing, client) for name in module.__all__}
    assert names - set(re.findall(r'<h3 id="?([\w.]+)', html)) == set()
