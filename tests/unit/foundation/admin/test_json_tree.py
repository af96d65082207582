"""JSON as elements that open and close: everything is shown, escaped, and within bounds."""

from html.parser import HTMLParser

from foundation.admin.json_tree import tree
from tests.cases import cases


class Elements(HTMLParser):
    """Collects the tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@cases("text", ["<script>alert(1)</script>", "\"><img src=x onerror='x'>", "&lt;"])
def test_names_and_texts_are_inert(text: str) -> None:
    found = Elements(tree({text: [text]}, "input").html)
    assert {tag for tag, _ in found.tags} <= {"details", "summary", "div", "span"}
    assert all(not name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert found.text.count(text.replace('"', '\\"')) == 2
