from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.parts.documents.questions import QUESTIONS

HITS = 3


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
        hits = [link.removeprefix(f"{site}/").removesuffix(".html") for link in links[:HITS]]
        if not set(answers.split()) & set(hits):
            missed[question] = hits
    assert missed == {}
    assert {url for url in requested if not url.startswith(("file:", "data:", "blob:"))} == set()
