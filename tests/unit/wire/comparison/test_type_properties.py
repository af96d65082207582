"""Compatible types accept every value of the older type, and each breaking change has a value that proves it."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wire.comparison.type_shapes import NOTHING, Types
from wire.comparison.types import Effect, TypeChange, compare_types
from wire.documents.canonical_types import mismatches

NAMES = ("A", "B", "C")
SCALARS = ("string", "integer", "number", "boolean", "decimal", "date", "datetime", "uuid", "json")
FIELDS = ("a", "b", "c")
Definitions = dict[str, dict[str, Any]]

scalars = st.sampled_from(SCALARS).map(lambda name: {"kind": "scalar", "id": name})
named = st.sampled_from((*NAMES, "Missing")).map(lambda name: {"kind": "named", "id": name})
flat = scalars | named
maps = st.builds(
    lambda key, value: {"kind": "map", "key": {"kind": "scalar", "id": key}, "value": value},
    st.sampled_from(("string", "date", "decimal")),
    flat,
)
expressions = flat | maps
fields = st.builds(
    lambda name, expression, optional, repeated: {
        "name": name,
        "type": expression,
        **({"optional": True} if optional else {}),
        **({"repeated": True} if repeated else {}),
    },
    st.sampled_from(FIELDS),
    expressions,
    st.booleans(),
    st.booleans(),
)
records = st.lists(fields, max_size=3, unique_by=lambda field: field["name"]).map(
    lambda found: {"kind": "record", "fields": found}
)
unions = st.lists(
    st.builds(lambda name, payload: {"discriminator": name, "payload": payload}, st.sampled_from(FIELDS), expressions),
    min_size=1,
    max_size=3,
    unique_by=lambda variant: variant["discriminator"],
).map(lambda found: {"kind": "union", "variants": found})
numbers = st.integers(-3, 3) | st.sampled_from((0.5, "1.5"))
constraints = st.fixed_dictionaries(
    {},
    optional={
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 12),
        "minimum": numbers,
        "maximum": numbers,
        "minimumExclusive": st.booleans() | numbers,
        "maximumExclusive": st.booleans() | numbers,
        "pattern": st.sampled_from(("^(?:a|b)$", "^(?:a|bb|1)$", "^(?:1)$", "^[a-z]+$")),
    },
)
wrappers = st.builds(lambda wraps, limits: {"kind": "wrapper", "wraps": wraps, **limits}, flat, constraints)
aliases = st.builds(lambda target: {"kind": "alias", "target": target}, expressions)
definitions = records | unions | wrappers | aliases
catalogues = st.fixed_dictionaries(dict.fromkeys(NAMES, definitions))


WIDER = {"integer": ("number", "json"), "date": ("string", "datetime"), "decimal": ("string",), "boolean": ("json",)}


@st.composite
def edited(draw: st.DrawFn, definition: dict[str, Any]) -> dict[str, Any]:
    """A definition that differs in one place."""
    kind = definition["kind"]
    if kind == "wrapper":
        changes = draw(constraints)
        kept = {name: value for name, value in definition.items() if name in ("kind", "wraps") or draw(st.booleans())}
        return {**kept, **changes} if draw(st.booleans()) else kept
    if kind == "alias":
        return {**definition, "target": draw(other_expression(definition["target"]))}
    members = "fields" if kind == "record" else "variants"
    parts: list[dict[str, Any]] = list(definition[members])
    place = draw(st.integers(0, len(parts)))
    if place == len(parts) or draw(st.integers(0, 3)) == 0:
        more = draw(fields) if kind == "record" else {"discriminator": "c", "payload": draw(expressions)}
        name = "name" if kind == "record" else "discriminator"
        return {**definition, members: [*(part for part in parts if part[name] != more[name]), more]}
    if draw(st.integers(0, 3)) == 0:
        return {**definition, members: [*parts[:place], *parts[place + 1 :]]}
    part = dict(parts[place])
    if kind == "union":
        part["payload"] = draw(other_expression(part["payload"]))
    elif draw(st.booleans()):
        part["optional"] = not part.get("optional", False)
    else:
        part["type"] = draw(other_expression(part["type"]))
    return {**definition, members: [*parts[:place], part, *parts[place + 1 :]]}


def other_expression(expression: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    wider = [{"kind": "scalar", "id": name} for name in WIDER.get(expression.get("id", ""), ())]
    return st.sampled_from(wider) if wider else expressions


@st.composite
def versions(draw: st.DrawFn) -> tuple[Definitions, Definitions]:
    """Two versions of the types. The newer one differs in one or two definitions."""
    older: Definitions = draw(catalogues)
    newer = dict(older)
    for name in draw(st.lists(st.sampled_from(("A", "A", "B", "C")), min_size=1, max_size=2)):
        newer[name] = draw(edited(newer[name]))
    return older, newer


texts = st.sampled_from(("", "a", "b", "bb", "aaaaaa", "~", "1", "2", "-3", "0.5", "2026-01-02", "20260102")) | st.just(
    "6f0a3f0e-6d5f-4a65-9f0b-1e2d3c4b5a69"
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-4, 4) | st.sampled_from((0.5, 1.5)) | texts,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from((*FIELDS, "1", "2026-01-02")), inner, max_size=3)
    ),
    max_leaves=6,
)


def entries(found: Definitions) -> dict[str, Any]:
    return {name: {"definition": {"id": name, **definition}} for name, definition in found.items()}


def changes_of(older: Definitions, newer: Definitions) -> list[TypeChange]:
    return list(compare_types(Types(entries(older)), "A", Types(entries(newer)), "A"))


OF_SCALARS: dict[str, tuple[Any, ...]] = {
    "string": ("", "a", "b", "bb", "aaaaaa", "1"),
    "integer": (-4, -1, 0, 1, 2, 3),
    "number": (-1.5, 0, 0.5, 1, 1.5, 3),
    "boolean": (True, False),
    "decimal": ("-3", "0.5", "1", "1.5", "20260102"),
    "date": ("2026-01-02", "20260102", "2026-W01-1"),
    "datetime": ("2026-01-02", "2026-01-02T03:04:05Z"),
    "uuid": ("6f0a3f0e-6d5f-4a65-9f0b-1e2d3c4b5a69",),
    "json": (None, "1", 2, [], {}),
}


@st.composite
def value_of(draw: st.DrawFn, found: Definitions, expression: Any, depth: int = 0) -> Any:
    """A value that often has the type."""
    if depth > 6 or draw(st.integers(0, 19)) == 0:
        return draw(values)
    kind = expression["kind"]
    if kind == "named":
        definition = found.get(expression["id"])
        return draw(values) if definition is None else draw(value_of(found, definition, depth + 1))
    if kind in ("alias", "wrapper"):
        return draw(value_of(found, expression["target" if kind == "alias" else "wraps"], depth + 1))
    if kind == "map":
        keys = draw(st.lists(st.sampled_from(("1", "2026-01-02")), max_size=2, unique=True))
        return {key: draw(value_of(found, expression["value"], depth + 1)) for key in keys}
    if kind == "union":
        variant = draw(st.sampled_from(expression["variants"]))
        return {variant["discriminator"]: draw(value_of(found, variant["payload"], depth + 1))}
    if kind == "record":
        made = {}
        for field in expression["fields"]:
            if field.get("optional") and draw(st.booleans()):
                continue
            inner = value_of(found, field["type"], depth + 1)
            made[field["name"]] = draw(st.lists(inner, max_size=2) if field.get("repeated") else inner)
        return made
    return draw(st.sampled_from(OF_SCALARS[expression["id"]]))


@settings(max_examples=200, deadline=None)
@given(versions(), st.data())
def test_compatible_types_accept_all_older_values(found: tuple[Definitions, Definitions], data: st.DataObject) -> None:
    older, newer = found
    if {change.effect for change in changes_of(older, newer)} <= {Effect.WIDENED}:
        kind = {"kind": "named", "id": "A"}
        for value in data.draw(st.lists(value_of(older, kind) | value_of(newer, kind), min_size=5, max_size=5)):
            if not mismatches(entries(older), "A", value):
                assert mismatches(entries(newer), "A", value) == []


@settings(max_examples=200, deadline=None)
@given(versions())
def test_each_breaking_change_has_an_example(found: tuple[Definitions, Definitions]) -> None:
    older, newer = found
    for change in changes_of(older, newer):
        assert (change.example is not None) == (change.effect is Effect.NARROWED)
        if change.example is not None:
            value = change.example()
            assert mismatches(entries(older), "A", value) == [], change
            assert mismatches(entries(newer), "A", value) != [], change


SCALARS_IN_TEXTS = ("string", "integer", "number", "decimal", "json")


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SCALARS_IN_TEXTS), constraints, constraints)
def test_compatible_constraints_accept_all_older_values(
    scalar: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    older, newer = (
        {"A": {"kind": "wrapper", "wraps": {"kind": "scalar", "id": scalar}, **limits}}
        for limits in (before, {**before, **after})
    )
    if {change.effect for change in changes_of(older, newer)} <= {Effect.WIDENED}:
        for value in (value for values in OF_SCALARS.values() for value in values):
            if not mismatches(entries(older), "A", value):
                assert mismatches(entries(newer), "A", value) == []


@given(catalogues)
def test_equal_types_have_no_changes_and_a_sample_is_a_value_of_its_type(found: Definitions) -> None:
    assert changes_of(found, found) == []
    sample = Types(entries(found)).sample("A")
    if sample is not NOTHING:
        assert sample is not None
        assert mismatches(entries(found), "A", sample) == []
