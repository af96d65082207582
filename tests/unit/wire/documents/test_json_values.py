"""Equality of JSON values: property tests against a model that compares exact decimals."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.cases import cases
from wire.documents import json_values

NUMBERS = st.one_of(
    st.integers(),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**18), 10**18).map(float),
    st.integers(0, 308).map(lambda exponent: float(f"1e{exponent}")),
    st.integers(0, 308).map(lambda exponent: 10**exponent),
    st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False, 2**53, float(2**53), 2**53 + 1, 5e-324, 1.5, 150e-2]),
)
TEXTS = st.text(st.characters(), max_size=3) | st.sampled_from(
    ["", "1", "1.0", "e+", "\ud800", "\u2028", "é", "e\u0301"]
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def model(value: Any) -> Any:
    """Return a value that Python compares as JSON values must be compared."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__, value
    if isinstance(value, int | float):
        return "number", Decimal(repr(value))
    if isinstance(value, list):
        return "array", [model(item) for item in value]
    return "object", {name: model(member) for name, member in value.items()}


def rewritten(value: Any, draw: Any) -> Any:
    """Return an equal value: members in another order, and integers as floats or vice versa if that is exact."""
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: rewritten(value[name], draw) for name in names}
    if isinstance(value, list):
        return [rewritten(item, draw) for item in value]
    if isinstance(value, float) and value.is_integer() and draw(st.booleans()):
        return int(Decimal(repr(value)))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53 and draw(st.booleans()):
        return float(value)
    return value


@given(JSON, JSON)
@example({"a": 1}, {"a": 1.0})
@example([1], [True])
@example(1e23, 10**23)
@example(2**53 + 1, float(2**53))
def test_digests_are_equal_exactly_if_the_values_are(one: Any, other: Any) -> None:
    same = model(one) == model(other)
    assert (json_values.digest(one) == json_values.digest(other)) is same
    assert json_values.equal(one, other) is same


@given(JSON, st.data())
def test_neither_the_order_of_members_nor_the_notation_of_numbers_matters(value: Any, data: st.DataObject) -> None:
    other = rewritten(value, data.draw)
    assert json_values.digest(value) == json_values.digest(other)


@given(JSON)
def test_a_value_is_not_changed_and_its_canonical_text_reads_back_as_an_equal_one(value: Any) -> None:
    before = repr(value)
    assert model(json.loads(json_values.canonical(value))) == model(value)
    assert repr(value) == before


def test_values_that_look_alike_differ() -> None:
    values = [
        1,
        "1",
        True,
        [1],
        {"1": 1},
        None,
        [],
        {},
        *("", "1.0", "null", "\u2028", "é", "e\u0301", "\ud800", "\ufffd"),
    ]
    assert len({json_values.digest(value) for value in values}) == len(values)


@cases("written", ["0", "-0", "0.0", "-0.0", "0e5", "1e-400"])
def test_zero_is_zero(written: str) -> None:
    assert json_values.digest(json.loads(written)) == json_values.digest(0)


def test_the_largest_exponents_are_cheap() -> None:
    """A double has at most 309 digits before the point. Larger numbers are refused when JSON is read."""
    assert json_values.canonical(1.7976931348623157e308) == "17976931348623157" + "0" * 292
    assert json_values.canonical(5e-324) == "5e-324"


@cases("value", [float("inf"), float("-inf"), float("nan")])
def test_a_number_that_is_not_finite_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        json_values.digest([1.0, value])


def test_values_may_nest_as_deep_as_payloads() -> None:
    one: Any = 1.0
    other: Any = 1
    for _ in range(250):
        one, other = [{"a": one}], [{"a": other}]
    assert json_values.equal(one, other)
