"""Types of a contract, and values of them, for tests of forms."""

from datetime import date, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from tests.unit.wire.comparison.releases import named, scalar
from wire.comparison.type_shapes import Types

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
ZONES = st.one_of(st.none(), st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "integer": st.integers(),
    "number": st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    "boolean": st.booleans(),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False).map(str),
    "date": st.dates(date(1, 1, 1)).map(date.isoformat),
    "datetime": st.datetimes(timezones=ZONES).map(datetime.isoformat),
    "uuid": st.uuids().map(str),
    "json": st.recursive(
        st.one_of(st.booleans(), st.integers(-5, 5), TEXTS),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
        max_leaves=5,
    ),
}


def record(**fields: Any) -> dict[str, Any]:
    """Return a record. The value of a field is its type, or a dictionary with more of the field."""
    members = [
        {"name": name, **(field if isinstance(field, dict) and "type" in field else {"type": field})}
        for name, field in fields.items()
    ]
    return {"kind": "record", "fields": members}


def choices(*literals: str) -> dict[str, Any]:
    return {"kind": "wrapper", "wraps": scalar("string"), "pattern": f"^(?:{'|'.join(literals)})$"}


def types(**definitions: dict[str, Any]) -> Types:
    return Types({name: {"definition": {"id": name, **definition}} for name, definition in definitions.items()})


class Drawn:
    """Draws types into one contract, each with a value."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self.definitions: dict[str, dict[str, Any]] = {}

    def typed(self, depth: int = 0) -> tuple[Any, Any]:
        """Return a type expression and a value of it."""
        kind = self._draw(st.sampled_from(["scalar", "scalar", "choice", "record", "record", "map", "union"]))
        if kind == "scalar" or depth > 3:
            name = self._draw(st.sampled_from(sorted(SCALARS)))
            return scalar(name), self._draw(SCALARS[name])
        if kind == "choice":
            literals = self._draw(st.lists(st.text("abc XYZ", max_size=4), min_size=1, max_size=8, unique=True))
            return self._define(choices(*literals)), self._draw(st.sampled_from(literals))
        expression, value = self.typed(depth + 1)
        if kind == "map":
            return {"kind": "map", "key": scalar("string"), "value": expression}, {self._draw(TEXTS): value}
        if kind == "union":
            return self._define({"kind": "union", "variants": [{"discriminator": "a", "payload": expression}]}), {
                "a": value
            }
        return self._record(depth)

    def _record(self, depth: int) -> tuple[Any, Any]:
        names = self._draw(
            st.lists(st.one_of(TEXTS, st.sampled_from(["a.b", "a:b", "items"])), max_size=4, unique=True)
        )
        fields, members = list[dict[str, Any]](), dict[str, Any]()
        for name in names:
            expression, value = self.typed(depth + 1)
            repeated, optional = self._draw(st.booleans()), self._draw(st.booleans())
            if repeated:
                value = [value] * self._draw(st.integers(0, 3))
            fields.append({"name": name, "type": expression, "repeated": repeated, "optional": optional})
            state = self._draw(st.sampled_from(["given", "null", "absent"])) if optional else "given"
            if state != "absent":
                members[name] = None if state == "null" else value
        return self._define({"kind": "record", "fields": fields}), members

    def _define(self, definition: dict[str, Any]) -> dict[str, str]:
        name = f"T{len(self.definitions)}"
        self.definitions[name] = {"definition": {"id": name, **definition}}
        return named(name)


@st.composite
def typed_values(draw: Any) -> tuple[dict[str, Any], Any, Any]:
    """Return the types of a contract, a type expression, and a value of it."""
    drawn = Drawn(draw)
    expression, value = drawn.typed()
    return drawn.definitions, expression, value
