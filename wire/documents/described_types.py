"""How people read types: the order of fields and choices, labels, units and examples. Pure.

An artifact declares them in the member `types` of its declarations, for the types that questions show. `order` has the
names of a type's fields, or the texts that it chooses from, as the author wrote them. A contract has both sorted.
`fields` has what the author says about some fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wire.documents.json_reader import shown

TEXTS: Final = {"title": 100, "description": 1000, "unit": 20}
"""How many characters each text about a field may have."""
EXAMPLES: Final = "examples"
MOST_EXAMPLES: Final = 5
LONGEST_EXAMPLE: Final = 100
LONGEST_NAME: Final = 1000
MOST_CHOICES: Final = 100
"""The order of more choices is not declared."""
MEMBERS: Final = ("order", "fields")
Described = Mapping[str, Mapping[str, Any]]
"""The member `types`, by the ids of types."""


def wrong_types(types: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the member `types`."""
    for type_id, described in types.items():
        if not isinstance(described, Mapping) or not described.keys() <= {*MEMBERS}:
            yield f"the type {shown(type_id)} has other members than {' and '.join(MEMBERS)}"
            continue
        fields = described.get("fields", {})
        if not _are_texts(described.get("order", [])):
            yield f"the order of {shown(type_id)} is no list of names"
        if not isinstance(fields, Mapping):
            yield f"the fields of {shown(type_id)} are no object"
            continue
        for name, texts in fields.items():
            if not _is_description(texts):
                yield f"the description of {shown(type_id)}.{shown(name)} has an unknown member, or a text too long"


def _is_description(texts: Any) -> bool:
    if not isinstance(texts, Mapping) or not texts.keys() <= {*TEXTS, EXAMPLES}:
        return False
    examples = texts.get(EXAMPLES, [])
    return (
        all(isinstance(texts[name], str) and len(texts[name]) <= TEXTS[name] for name in texts.keys() & TEXTS.keys())
        and _are_texts(examples, LONGEST_EXAMPLE)
        and len(examples) <= MOST_EXAMPLES
    )


def _are_texts(value: Any, longest: int = LONGEST_NAME) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and len(item) <= longest for item in value)
