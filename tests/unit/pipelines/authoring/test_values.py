"""Typed values to JSON and back."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, computed_field

from pipelines.authoring.catalogue import Catalogue
from pipelines.authoring.values import ValueMismatch, ValueType
from tests.cases import cases


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
ORDER = Order(
    number=7,
    lines=[Line("a", Decimal("10.50"))],
    placed=PLACED,
    colour=Colour.BLUE,
    key=UUID(KEY),
    rates={"EUR": Decimal("1.0842")},
    extra={"free": [1, "two", None]},
)
DOCUMENT = {
    "number": 7,
    "lines": [{"sku": "a", "price": "10.50"}],
    "placed": "2024-05-01T12:30:00Z",
    "colour": "blue",
    "key": KEY,
    "rates": {"EUR": "1.0842"},
    "extra": {"free": [1, "two", None]},
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
        (Order, ordered(lines=[{"sku": 1, "price": "1"}]), "lines.0.sku: Input should be a valid string"),
        (Order, ordered(rates={"EUR": 1.1}), "rates.EUR: must be a decimal number in a string"),
        (Order, ordered(extra=["a\0"]), "extra.0: the text contains a NUL"),
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
        (Order, Order(1, [], PLACED, extra={"a": [float("nan")]}), "extra.a.0: nan is not a JSON number"),
        (Order, Order(1, [], PLACED, extra=object()), "[Uu]nable to serialize unknown type"),
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
