import re
import tomllib
from pathlib import Path

from playwright.sync_api import Browser, expect

import pipelines
from embedded.product import PROJECT
from pipelines import client, testing
from tests.parts.documents.questions import QUESTIONS

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


def test_each_question_finds_its_page_in_the_first_hits(site: Path, browser: Browser) -> None:
    """The search box of the site, opened as a file, without a server."""
    page = browser.new_page()
    requested = set[str]()
    page.on("request", lambda request: requested.add(request.url))
    page.goto((site / "index.html").as_uri())
    box, results = page.get_by_role("textbox", name="Search"), page.locator("li.md-search-result__item")
    missed = {}
    for question, answers in QUESTIONS.items():
        for text, expected in (("", expect(results).to_have_count), (question, expect(results).not_to_have_count)):
            box.fill(text)
            box.press("End")  # The site searches when a key is released.
            expected(0)
        links = results.locator(":scope > a:first-child").evaluate_all("links => links.map(link => link.pathname)")
        hits = [link.removeprefix(f"{site}/").removesuffix(".html") for link in links[:3]]
        if not set(answers.split()) & set(hits):
            missed[question] = hits
    assert missed == {}
    assert {url for url in requested if not url.startswith(("file:", "data:", "blob:"))} == set()
