"""The types of a question with what their author says about them to people. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wire.comparison.type_shapes import Form, Shape, Types
from wire.documents.described_types import EXAMPLES, TEXTS, Described


class DescribedTypes(Types):
    """The types of a contract. Records have their fields in the order of the author, with the texts about them.

    Scalars have as `parts` the texts that they choose from, if the author declared their order.

    The texts are further members of a field: `title`, `description`, `unit` and `examples`. They come from declarations
    alone, which are checked: a contract may have any values in members with these names.
    """

    def __init__(self, canonical_types: Mapping[str, Any], described: Described) -> None:
        super().__init__(canonical_types)
        self._described = described

    def _shape(self, expression: Any) -> Shape:
        shape = super()._shape(expression)
        if shape.form is Form.SCALAR:
            for wrapper in shape.wrappers:
                if order := self._described.get(str(wrapper.get("id")), {}).get("order"):
                    return replace(shape, parts={text: {} for text in order})
            return shape
        if shape.form is not Form.RECORD:
            return shape
        described = self._described.get(str(shape.body.get("id")), {})
        texts, order = described.get("fields", {}), [name for name in described.get("order", ()) if name in shape.parts]
        names = dict.fromkeys([*order, *shape.parts])
        return replace(shape, parts={name: {**_untold(shape.parts[name]), **texts.get(name, {})} for name in names})


def _untold(field: Mapping[str, Any]) -> dict[str, Any]:
    """Return the field without the members that have the names of texts."""
    return {name: value for name, value in field.items() if name not in (*TEXTS, EXAMPLES)}
