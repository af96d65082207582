import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from executions.questions.described import DescribedTypes
from executions.questions.filling import shared_data, value_of
from executions.questions.forms import Part, Problem, edited, form_of, with_problems
from tests.cases import cases
from tests.unit.wire.comparison.releases import catalogue, field, named, record, scalar, wrapper
from wire.comparison.type_shapes import Types

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
OFFSETS = st.one_of(st.none(), st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))))
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "integer": st.integers(),
    "number": st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    "boolean": st.booleans(),
    "decimal": st.decimals(allow_nan=False, allow_infinity=False).map(str),
    "date": st.dates(date(1, 1, 1)).map(date.isoformat),
    "datetime": st.datetimes(timezones=OFFSETS).map(datetime.isoformat),
    "uuid": st.uuids().map(str),
    "json": st.recursive(
        st.one_of(st.booleans(), st.integers(-5, 5), TEXTS),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
        max_leaves=5,
    ),
}
LITERALS = "|".join(f"choice {number}" for number in range(3_000))
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [UTC, BERLIN, ZoneInfo("Pacific/Apia"), ZoneInfo("America/New_York")]


def types(**definitions: dict[str, Any]) -> Types:
    return Types(catalogue(**definitions))


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
            return self._define(wrapper(pattern=f"^(?:{'|'.join(literals)})$")), self._draw(st.sampled_from(literals))
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
            fields.append(field(name, expression, repeated=repeated, optional=optional))
            state = self._draw(st.sampled_from(["given", "null", "absent"])) if optional else "given"
            if state != "absent":
                members[name] = None if state == "null" else value
        return self._define(record(*fields)), members

    def _define(self, definition: dict[str, Any]) -> dict[str, str]:
        name = f"T{len(self.definitions)}"
        self.definitions |= catalogue(**{name: definition})
        return named(name)


@st.composite
def typed_values(draw: Any) -> tuple[dict[str, Any], Any, Any]:
    drawn = Drawn(draw)
    expression, value = drawn.typed()
    return drawn.definitions, expression, value


def read_json(text: str, path: str) -> tuple[Any, list[Problem]]:
    try:
        return json.loads(text), []
    except ValueError:
        return None, [{"field": path, "code": "BAD", "message": "is not JSON"}]


def read(form: Part, zone: Any = UTC) -> Any:
    value, problems = value_of(form, zone, read_json)
    assert problems == []
    return value


def problems_of(form: Part) -> dict[str, str]:
    return {problem["field"]: problem["message"] for problem in value_of(form, UTC, read_json)[1]}


def one(kind: Any, **data: str) -> Part:
    """Return the part for the only member `x` of an answer. `data` are fields below it, and `text` is its own."""
    named_data = {f"answer.x:{name}": text for name, text in data.items() if name != "text"}
    if "text" in data:
        named_data["answer.x"] = data["text"]
    [part] = form_of(types(T=record(field("x", kind))), "T", named_data).parts
    return part


@given(typed_values(), st.sampled_from(ZONES), st.booleans())
def test_a_form_reads_as_the_value_that_fills_it(typed: tuple[dict[str, Any], Any, Any], zone: Any, many: bool) -> None:
    definitions, expression, value = typed
    value = [value, value] if many else value
    known = Types({**definitions, **catalogue(T=record(field("x", expression, repeated=many)))})
    shared = shared_data(known, "T", "T", {"x": value}, zone)
    data = {name.replace("answer.x", "answer", 1): text for name, text in shared.items()}
    answer = read(form_of(known, expression, data, many=many), zone)
    assert json.dumps(answer, sort_keys=True) == json.dumps(value, sort_keys=True)


@cases(
    ("kind", "text", "value"),
    [
        ("integer", " +7 ", 7),
        ("integer", "-12345678901234567890", -12345678901234567890),
        ("number", "1.50", 1.5),
        ("decimal", "12345678901234567890.10", "12345678901234567890.10"),
        ("datetime", "2026-07-01T12:30", "2026-07-01T12:30:00+02:00"),
        ("datetime", "2026-01-01T12:30:05Z", "2026-01-01T12:30:05+00:00"),
        ("boolean", "false", False),
        ("string", "two\r\nlines", "two\nlines"),
        ("json", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_what_a_person_enters_is_read_exactly(kind: str, text: str, value: Any) -> None:
    answer = read(one(scalar(kind), text=text), BERLIN)
    assert answer == value
    assert type(answer) is type(value)


@cases(
    ("kind", "text", "problem"),
    [
        ("integer", "1.5", "must be an integer"),
        ("integer", "9" * 2000, "must be an integer"),
        ("number", "1e9999", "must be a number"),
        ("decimal", "Infinity", "must be a decimal number"),
        ("date", "2026-02-30", "must be a date as YYYY-MM-DD"),
        ("datetime", "tomorrow", "must be a date and time"),
        ("uuid", "x", "must be a UUID"),
        ("boolean", "maybe", "is required"),
        ("integer", " ", "is required"),
        ("json", "{", "is not JSON"),
    ],
)
def test_a_wrong_entry_is_a_problem_of_its_field_and_stays(kind: str, text: str, problem: str) -> None:
    known = types(T=record(field("x", kind)))
    form = form_of(known, "T", {"answer.x": text})
    assert problems_of(form) == {"response.x": problem}
    [part] = with_problems(form, [{"field": "response.x", "code": "c", "message": problem}])[0].parts
    assert (part.text, list(part.problems)) == (text, [problem])


def test_optional_members_are_left_out_unless_something_is_entered() -> None:
    known = types(
        Inner=record(field("n", "integer")),
        T=record(
            *(field(name, name, optional=True) for name in ("string", "integer", "boolean", "datetime", "json")),
            field("inner", named("Inner"), optional=True),
            field("items", "integer", optional=True, repeated=True),
        ),
    )
    assert read(form_of(known, "T", {})) == {}
    assert read(form_of(known, "T", {"answer.string:empty": "1"})) == {"string": ""}
    assert read(form_of(known, "T", {"answer.items:given": "1"})) == {"items": []}
    assert problems_of(form_of(known, "T", {"answer.inner:given": "1"})) == {"response.inner.n": "is required"}


def test_items_and_optional_groups_are_added_and_removed_and_other_entries_stay() -> None:
    known = types(
        Line=record(field("sku")),
        T=record(field("lines", named("Line"), repeated=True), field("extra", named("Line"), optional=True)),
    )
    data: dict[str, str] = {}
    for _ in range(3):
        data = edited(known, "T", data, "add:answer.lines")
    data |= {f"answer.lines.{number}.sku": str(number) for number in range(3)}
    data = edited(known, "T", data, "remove:answer.lines.1")
    assert read(form_of(known, "T", data)) == {"lines": [{"sku": "0"}, {"sku": "2"}]}
    data = edited(known, "T", edited(known, "T", data, "add:answer.lines"), "give:answer.extra")
    assert read(form_of(known, "T", data))["extra"] == {"sku": ""}
    assert [part.number for part in form_of(known, "T", data).parts[0].parts] == ["0", "2", "3"]
    assert "extra" not in read(form_of(known, "T", edited(known, "T", data, "omit:answer.extra")))
    assert edited(known, "T", data, "explode:answer.lines") == data


@cases(
    ("fields", "definitions"),
    [
        ([field(f"f{number}") for number in range(10_000)], {}),
        ([field(f"f{number}", named("T")) for number in range(1_000)], {}),
        ([field(name, named("Enum")) for name in "abc"], {"Enum": wrapper(pattern=f"^(?:{LITERALS})$")}),
    ],
)
def test_a_form_that_is_too_large_is_json(fields: list[Any], definitions: dict[str, Any]) -> None:
    form = form_of(types(T=record(*fields), **definitions), "T", {})
    assert (form.kind, form.parts) == ("json", ())


def test_texts_and_orders_come_from_declarations_alone() -> None:
    hostile = {"title": 5, "description": {}, "unit": ["x"], "examples": 7}
    fields = [field("a", named("C")), field("b")]
    known = catalogue(T=record(*({**each, **hostile} for each in fields)), C=wrapper(pattern="^(?:new|old|x)$"))
    record_of_two: dict[str, Any] = {"order": ["b", "z"], "fields": {"b": {"title": "Bee"}}}
    form = form_of(DescribedTypes(known, {"T": record_of_two, "C": {"order": ["z", "x", "new"]}}), "T", {})
    assert [(part.label, part.help) for part in form.parts] == [("Bee", ""), ("A", "")]
    assert form.parts[1].choices == ["x", "new", "old"]
