"""The types of a question with what their author says about them to people. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wire.comparison.type_shapes import Form, Shape, Types
from wire.documents.described_types import Described


class DescribedTypes(Types):
    """The types of a contract. Records have their fields in the order of the author, with the texts about them.

    The texts are further members of a field: `title`, `description`, `unit` and `examples`.
    """

    def __init__(self, canonical_types: Mapping[str, Any], described: Described) -> None:
        super().__init__(canonical_types)
        self._described = described

    def _shape(self, expression: Any) -> Shape:
        shape = super()._shape(expression)
        described = self._described.get(str(shape.body.get("id"))) if shape.form is Form.RECORD else None
        if not described:
            return shape
        texts, order = described.get("fields", {}), [name for name in described.get("order", ()) if name in shape.parts]
        names = dict.fromkeys([*order, *shape.parts])
        return replace(shape, parts={name: {**texts.get(name, {}), **shape.parts[name]} for name in names})
