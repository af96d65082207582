import csv
import re
from html.parser import HTMLParser
from io import StringIO
from typing import Any

from foundation import exports
from foundation.admin.columns import json_tree
from tests.cases import cases

ROWS: list[dict[str, Any]] = [
    {"name": "=1+1", "tags": ["a", "b"], "count": None},
    {"name": "ö", "tags": [], "count": 2},
]
COLUMNS = ("name", "tags", "count")


def test_csv_begins_with_the_columns_and_has_no_formulas() -> None:
    lines = list(exports.lines(COLUMNS, ROWS, "csv"))
    assert lines == [b'"name","tags","count"\r\n', b'"\'=1+1","a b",""\r\n', '"ö","","2"\r\n'.encode()]


@cases("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d"])
def test_a_text_that_would_be_a_formula_begins_with_an_apostrophe(start: str) -> None:
    text = f"{start}1+1"
    assert next(csv.reader(StringIO(exports.csv_line([text, "a"]).decode(), newline=""))) == [f"'{text}", "a"]


@cases("separator", [";", ",", "|", "\t", "\n", "; ", ';"'])
def test_no_part_of_a_line_is_a_formula_wherever_it_is_split(separator: str) -> None:
    line = exports.csv_line([f"a{separator}=HYPERLINK(A1)+1{separator}b", -1]).decode()
    assert not [part for part in re.split(r"[;,|\t\n]", line) if part.strip(' "').startswith("=")]
    assert line.endswith(',"-1"\r\n')


class Elements(HTMLParser):
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
    elements = Elements(json_tree({text: [text]}, "input").html)
    assert {tag for tag, _ in elements.tags} <= {"details", "summary", "div", "span"}
    assert all(not name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert elements.text.count(text.replace('"', '\\"')) == 2
