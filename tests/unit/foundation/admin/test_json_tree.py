"""JSON as elements that open and close: everything is shown, escaped, and within bounds."""

from html.parser import HTMLParser
from typing import Any

from foundation.admin.json_tree import LONGEST_TEXT, MOST_NODES, MOST_TEXT, OPEN_DEPTH, tree
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


def drawn(value: Any) -> Elements:
    return Elements(tree(value, "input").html)


@cases(
    ("value", "kind", "text"),
    [
        ("é", "dc-j-text", '"é"'),
        (1.5, "dc-j-number", "1.5"),
        (12345678901234567890, "dc-j-number", "12345678901234567890"),
        (True, "dc-j-word", "true"),
        (None, "dc-j-word", "null"),
    ],
)
def test_each_type_has_its_colour(value: Any, kind: str, text: str) -> None:
    found = drawn(value)
    assert ("span", {"class": kind}) in found.tags
    assert found.text == text


def test_nested_values_open_to_a_depth_and_have_ids() -> None:
    details = [attributes for tag, attributes in drawn({"a": {"b": {"c": [1]}}, "d": 2}).tags if tag == "details"]
    assert [each["id"] for each in details] == ["input", "input-0", "input-0-0", "input-0-0-0"]
    assert ["open" in each for each in details] == [True] * OPEN_DEPTH + [False] * (4 - OPEN_DEPTH)
    assert "2 members" in drawn({"a": 1, "b": 2}).text
    assert "1 item" in drawn([1]).text
    assert "1 items" not in drawn([1]).text
    assert (drawn({}).text, drawn([]).text) == ("{}", "[]")


@cases("text", ["<script>alert(1)</script>", "\"><img src=x onerror='x'>", "</details></div>", "{{ 7|add:1 }}", "&lt;"])
def test_names_and_texts_are_inert(text: str) -> None:
    found = drawn({text: [text]})
    assert {tag for tag, _ in found.tags} <= {"details", "summary", "div", "span"}
    assert all(not name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert found.text.count(text.replace('"', '\\"')) == 2


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@cases(
    "value",
    [
        list(range(MOST_NODES * 5)),
        ["x" * LONGEST_TEXT * 2],
        ["x" * 1000] * (MOST_TEXT // 500),
        {"k" * LONGEST_TEXT * 2: 1},
        nested(900),
    ],
)
def test_large_values_are_cut_and_say_so(value: Any) -> None:
    shown = tree(value, "input")
    assert shown.cut
    assert len(shown.html) < 1_000_000
    assert "…" in Elements(shown.html).text
    assert not tree({"a": []}, "input").cut
