"""Reads the forms of a page."""

from html.parser import HTMLParser
from typing import Any


class Forms(HTMLParser):
    """Collects the forms of a page: the method of each, and the first value of each field."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((attributes.get("method", "get").lower(), {}))
        elif tag in {"input", "select", "textarea"} and attributes.get("name") and self.found:
            self.found[-1][1].setdefault(attributes["name"], attributes.get("value", ""))
            self._select = attributes["name"] if tag == "select" else None
        elif tag == "option" and self.found and getattr(self, "_select", None) and attributes.get("value"):
            fields = self.found[-1][1]
            fields[self._select or ""] = fields[self._select or ""] or attributes["value"]


def forms_of(response: Any) -> list[tuple[str, dict[str, str]]]:
    """Return the forms of a page. A download has none."""
    return [] if response.streaming else Forms(response.text).found
