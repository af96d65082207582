"""Checks the fields by whose values the executions of a pipeline can be found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.errors import DefinitionError
from wire.documents.search import MOST_FIELDS, wrong_paths
from wire.documents.search_types import kind_at


def checked(search: Mapping[str, str], place: str) -> dict[str, str]:
    """Return a copy of the paths by name. ``mistakes`` checks the paths against a type.

    Raises ``DefinitionError`` INVALID_SEARCH.
    """
    if isinstance(search, Mapping):
        problem = next(wrong_paths({str(name): path for name, path in search.items()}), "")
    else:
        problem = f"search is {search!r}"
    if problem:
        advice = f'name at most {MOST_FIELDS} fields of the input, such as search={{"customer": "customer.id"}}'
        raise DefinitionError("INVALID_SEARCH", f"{problem}; {advice}", place)
    return dict(search)


def mistakes(
    search: Mapping[str, str], place: str, types: Mapping[str, Any], type_id: str, *, takes_many: bool
) -> Iterator[DefinitionError]:
    """Yield an INVALID_SEARCH for each path that does not end at one value of the input, which has this type."""
    if takes_many:
        text = "search needs an input of one value, but the first step takes many; remove search"
        yield DefinitionError("INVALID_SEARCH", text, place)
        return
    for name, path in search.items():
        try:
            kind_at(types, type_id, path)
        except ValueError as error:
            yield DefinitionError("INVALID_SEARCH", f"search: {name!r} has the path {path!r}, but {error}", place)
