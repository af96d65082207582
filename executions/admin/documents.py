"""JSON on pages: formats it with a length limit, and parses what a user typed strictly."""

import json
import re
from typing import Any

from django.conf import settings

from foundation.errors import InvalidRequest
from wire.documents.json_reader import read_object
from wire.findings import DocumentError

JSON_SHOWN = 20_000
_LINE = re.compile(r"\bline (\d+)\b")


def bounded_json(value: Any) -> dict[str, Any]:
    """Return indented JSON, truncated to JSON_SHOWN characters. `length` is that of the whole text."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return {"text": text[:JSON_SHOWN], "length": len(text), "cut": len(text) > JSON_SHOWN}


def typed_value(text: str, *, field: str) -> Any:
    """Return the one JSON value in `text`. The rules are those for request bodies.

    Raises `InvalidRequest` with every finding. Their paths begin with `field`.
    """
    # The strict reader reads only objects, so wrap the value in one. A newline keeps the line numbers computable.
    wrapped = f'{{"{field}":\n{text}}}'.encode("utf-8", "surrogatepass")
    try:
        found = read_object(wrapped, name="typed", limit=settings.MAX_REQUEST_BYTES)
    except DocumentError as error:
        errors = [_as_typed(finding.to_json(), field) for finding in error.findings]
        raise InvalidRequest(errors[0]["message"], errors=errors) from None
    if set(found) != {field}:
        several = {"field": field, "code": "DOCUMENT_NOT_JSON", "message": "must be one JSON value"}
        raise InvalidRequest("must be one JSON value", errors=[several])
    return found[field]


def _as_typed(finding: dict[str, str], field: str) -> dict[str, str]:
    """Return the finding with the path and line numbers of the text that the user typed."""
    path = finding["field"].removeprefix("typed").removeprefix("#") or field
    return {**finding, "field": path, "message": _LINE.sub(lambda line: f"line {int(line[1]) - 1}", finding["message"])}
