import itertools
import sys
from array import array
from contextlib import suppress
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, computed_field

from pipelines.authoring.catalogue import Catalogue
from pipelines.authoring.values import ValueMismatch, ValueType
from tests.cases import cases
from tests.words import words
from wire.documents.canonical_types import mismatches


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Line:
    sku: str
    price: Decimal


@dataclass
class Order:
    number: int
    lines: list[Line]
    placed: datetime
    colour: Colour = Colour.RED
    key: UUID | None = None
    rates: dict[str, Decimal] = field(default_factory=dict)
    extra: Any = None


class Model(BaseModel):
    amount: Decimal = Field(alias="theAmount", gt=0)

    @computed_field  # type: ignore[prop-decorator]  # mypy cannot follow a decorated property
    @property
    def doubled(self) -> Decimal:
        return self.amount * 2


PLACED = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
KEY = "11111111-2222-3333-4444-555555555555"
EXTRA = {"free": [1, "two", None]}
ORDER = Order(7, [Line("a", Decimal("10.50"))], PLACED, Colour.BLUE, UUID(KEY), {"EUR": Decimal("1.0842")}, EXTRA)
DOCUMENT = {
    **{"number": 7, "lines": [{"sku": "a", "price": "10.50"}], "placed": "2024-05-01T12:30:00Z"},
    **{"colour": "blue", "key": KEY, "rates": {"EUR": "1.0842"}, "extra": EXTRA},
}


def typed(hint: Any) -> ValueType:
    return ValueType(hint, Catalogue(), "here")


def test_values_are_read_back() -> None:
    """Decimals are texts. Models use their aliases, and have no computed fields."""
    model = Model.model_validate({"theAmount": Decimal("2.50")})
    for value, document in ((Decimal("1.10"), "1.10"), (ORDER, DOCUMENT), (model, {"theAmount": "2.50"})):
        encoded = typed(type(value)).encode(value)
        assert encoded.document == document
        assert (encoded.value, type(encoded.value)) == (value, type(value))
        assert typed(type(value)).decode(document) == value


def ordered(**members: Any) -> dict[str, Any]:
    return {"number": 1, "placed": "2024-05-01T12:30:00Z", "lines": [], **members}


@cases(
    ("hint", "document", "says"),
    [
        (int, "secret", "valid integer"),
        (str, 1, "valid string"),
        (Decimal, 1.5, "must be a decimal number in a string"),
        (str, "a\0b", "NUL"),
        (float, float("nan"), "not a JSON number"),
        (Line, None, "object"),
        (Line, {"sku": "a", "price": "1", "colour": "red"}, "colour: Unexpected keyword argument"),
        (Model, {"theAmount": "-1"}, "theAmount: Input should be greater than 0"),
        (Order, ordered(lines=[{"sku": 1, "price": "1"}]), r"lines\[0\]\.sku: Input should be a valid string"),
        (Order, ordered(rates={"EUR": 1.1}), "rates.EUR: must be a decimal number in a string"),
        (Order, ordered(extra=["a\0"]), r"extra\[0\]: the text contains a NUL"),
    ],
)
def test_json_that_is_not_of_the_type_is_refused_with_its_place(hint: Any, document: Any, says: str) -> None:
    with pytest.raises(ValueMismatch, match=says) as raised:
        typed(hint).decode(document)
    assert "secret" not in str(raised.value)


@cases(
    ("hint", "value", "says"),
    [
        (Line, Line("a", 1.5), r"price: expected decimal, got float"),  # type: ignore[arg-type]
        (Line, {"sku": "a", "price": "1"}, "expected Line, got dict"),
        (Line, None, "object"),
        (Line, Line("a", Decimal("Infinity")), "price: Input should be a finite number"),
        (Line, Line("a\0", Decimal(1)), "sku: the text contains a NUL character"),
        (str, 1, "valid string"),
        (Order, Order(1, [], PLACED, extra={"a": [float("nan")]}), r"extra\.a\[0\]: nan is not a JSON number"),
        (Order, Order(1, [], PLACED, extra=[object()]), r"extra\[0\]: a builtins.object cannot be written as JSON$"),
        (Order, Order(cast("Any", array("i")), [], PLACED), "number: a array.array cannot .*; convert .*with .tolist"),
        (Model, Model.model_construct(amount=Decimal(-1)), "theAmount: Input should be greater than 0"),
    ],
)
def test_a_value_that_is_not_of_the_type_is_refused_with_its_place(hint: Any, value: Any, says: str) -> None:
    with pytest.raises(ValueMismatch, match=says):
        typed(hint).encode(value)


@cases("seconds", [-2670, 3208, 1, -86399])
def test_a_time_whose_offset_has_seconds_is_read_back_as_the_same_moment(seconds: int) -> None:
    at = datetime(1890, 6, 1, 12, tzinfo=timezone(timedelta(seconds=seconds)))
    order = Order(1, [], at, extra={"times": [at]})
    encoded = typed(Order).encode(order)
    assert encoded.value.placed == at
    assert encoded.document["extra"] == {"times": [encoded.document["placed"]]}
    with pytest.raises(ValueMismatch, match="has seconds"):
        typed(datetime).encode(datetime.min.replace(tzinfo=timezone(timedelta(seconds=1))))


class Shade(StrEnum):
    RED = "r.d"
    NONE = ""


class Size(IntEnum):
    SMALL = 1
    LARGE = 3


@dataclass
class Card:
    kind: Literal["a"] = "a"
    n: int | str = 0


class Bank(BaseModel):
    kind: Literal["b", "c"]
    n: "Card | Bank | None" = None


def bounds(*least: Any) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["ge", "gt", "le", "lt"])
    return st.dictionaries(names, st.sampled_from(least), max_size=2).map(lambda members: Field(**members))


LENGTHS = st.sampled_from([Field(), Field(min_length=1), Field(max_length=2), Field(min_length=1, max_length=2)])
PATTERNS = st.sampled_from(["^[a-c]+$", "a|", r"^\d\d", "^(?:a|b)$"]).map(lambda pattern: Field(pattern=pattern))
CHOICES: list[Any] = [
    Size,
    Literal["a", ""],
    Literal[3, 1],
    timedelta,
    int | str,
    Decimal | float,
    bool | int,
    Card | str,
    Card | Bank,
    Annotated[Card | Bank, Field(discriminator="kind")],
    bool | Bank | Card | Annotated[str, Field(max_length=1)],
    dict[str, int] | date,
    UUID | Literal[1],
    Size | Shade,
]
PLAIN = st.sampled_from([*CHOICES, bool, date, datetime, UUID, Shade, Any, dict, dict[str, Any]])
CONSTRAINED = st.one_of(
    st.tuples(st.just(int), bounds(-1, 0, 1, 10**20)),
    st.tuples(st.just(float), bounds(-1.5, 0, 1e17, 3)),
    st.tuples(st.just(Decimal), bounds(-1, Decimal("1.50"), 3)),
    st.tuples(st.just(str), st.one_of(LENGTHS, PATTERNS)),
).map(lambda pair: Annotated[pair])
SCALARS = st.one_of(PLAIN, CONSTRAINED)
HINTS = st.one_of(
    SCALARS,
    SCALARS.map(lambda hint: dict[str, hint]),  # type: ignore[valid-type]
    st.tuples(SCALARS, LENGTHS).map(lambda pair: Annotated[list[pair[0]], pair[1]]),  # type: ignore[valid-type]
)
"""The types of fields: scalars, and maps and lists of them."""
ODD: list[Any] = [
    *words(
        """
        20240101 2024-W01-1 1704067200 2024-1-1 2024-02-30 2024-01-01 ２024-01-01 2024-01-01T00 2024-01-01t00:00z
        2016-12-31T23:59:60Z 2024-01-01T00:00:00+05 2024-01-01x00:00:00 2024-01-01T00:00:00+00:53:28
        2024-01-01T00:00:00,123456789+0530 2024-01-01T00:00:00.1234567890 0001-01-01T00:00:00+23:00
        2024-01-01T00:00:00+05:60 2024-01-01T00:00:00+24:00 9e6145 NaN 1_0 １ .5 5. r.d rxd
        P1D PT1S P1M P P1DT -P1Y2W3DT4H5M6.5S +PT0.1234567S PT36H P0.5D P99999999D P999999Y P1000000Y １D p1d 12:00
        """
    ),
    "2024-01-01 24:00",
    f"{{{UUID(int=7)}}}",
    UUID(int=7).hex,
    UUID(int=7).urn,
    f"{UUID(int=7)}"[:-1] + "６",
    "0000-" + "0" * 28,
    " 1",
    "",
    10**400,
    10**308,
    1.5,
    True,
    0,
    None,
    [],
    {},
    *({"kind": kind, "n": n} for kind in "abd" for n in (1, "b", None, {"kind": "a"}, {"kind": "c"}, {"n": 1})),
    {"n": 1},
    {"kind": "a"},
]
ZONES = st.one_of(st.none(), st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))))
FORMS = st.one_of(
    st.datetimes(timezones=ZONES).map(datetime.isoformat),
    st.dates().map(date.isoformat),
    st.uuids().map(str),
    st.decimals(allow_nan=False).map(str),
    st.sampled_from(ODD),
)
EDITED = st.tuples(FORMS.map(str), st.integers(0, 30), st.sampled_from(["", "-", ":", "T", "+", "0", "９", "e"])).map(
    lambda edit: edit[0][: edit[1]] + edit[2] + edit[0][edit[1] + 1 :]
)
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([10**17 + 1, 10**20, 10**400, 1.5, 1e17, -0.0]), st.booleans())
ATOMS = st.one_of(st.none(), NUMBERS, FORMS, EDITED, st.text("abc", max_size=3))
VALUES = st.one_of(ATOMS, st.lists(ATOMS, max_size=3), st.dictionaries(st.text("ab", max_size=1), ATOMS, max_size=2))
DEFAULTS = st.sampled_from([{}, {"default": None}, {"default_factory": list}])


def record(name: str, hints: list[tuple[Any, Any, bool]]) -> type:
    """Return an importable dataclass. Each field has a hint, its default, and whether it may be None."""
    fields = [
        (f"m{place}", hint | None if nullable else hint, field(**default, kw_only=True))
        for place, (hint, default, nullable) in enumerate(hints)
    ]
    made = make_dataclass(name, fields, namespace={"__module__": __name__})
    setattr(sys.modules[__name__], name, made)
    return made


@given(st.data(), st.lists(st.tuples(HINTS, DEFAULTS, st.booleans()), min_size=1, max_size=2), st.booleans())
def test_the_coordinator_accepts_exactly_what_a_worker_reads(data: Any, hints: list[Any], nests: bool) -> None:
    has_defaults = any(default for _, default, _ in hints)
    members: dict[str, Any] = {f"m{place}": VALUES for place in range(len(hints))}
    if nests:
        inner, inners = record("Inner", hints), st.fixed_dictionaries({}, optional=members)
        hints = [(inner, {"default": None}, True), (list[inner], {}, False)]  # type: ignore[valid-type]
        members = {"m0": st.none() | inners, "m1": st.lists(inners, max_size=2)}
    catalogue = Catalogue()
    value_type = ValueType(record("Outer", hints), catalogue, "here")
    document = data.draw(st.fixed_dictionaries({}, optional=members | {"other": ATOMS}))
    problems = mismatches(catalogue.canonical_types(), value_type.type_id, document)
    try:
        value = value_type.decode(document)
    except ValueMismatch:
        assert problems
        return
    assert not problems
    if not has_defaults:  # which need not be of the type
        again = value_type.encode(value)
        assert again.value == value
        assert mismatches(catalogue.canonical_types(), value_type.type_id, again.document) == []


ODD_HINTS = [int, float, Decimal, str, bool, date, datetime, UUID, *CHOICES]


@cases(("hint", "document"), itertools.product(ODD_HINTS, ODD))
def test_odd_forms_are_judged_alike(hint: Any, document: Any) -> None:
    catalogue = Catalogue()
    value_type = ValueType(hint, catalogue, "here")
    alias = {"definition": {"kind": "alias", "target": value_type.expression}}
    judged = mismatches({"t": alias, **catalogue.canonical_types()}, "t", document)
    with suppress(ValueMismatch):
        value = value_type.decode(document)
        assert judged == []
        assert value_type.encode(value).value == value
        return
    assert judged
