"""Equality of JSON values. `executions/test_json_equality.py` compares it with PostgreSQL's."""

import json
from typing import Any

import pytest

from tests.cases import cases
from wire.documents import json_values


def test_values_that_look_alike_differ() -> None:
    values = [1, "1", True, [1], {"1": 1}, None, [], {}, "", "1.0", "null", "é", "e\u0301", "\ud800", 2**53 + 1]
    assert len({json_values.digest(value) for value in values}) == len(values)


@cases(
    ("written", "value"),
    [
        *((zero, 0) for zero in ("-0", "-0.0", "0e5", "1e-400")),
        ('{"b": [2.0], "a": 1e23}', {"a": 10**23, "b": [2]}),
    ],
)
def test_neither_the_notation_of_numbers_nor_the_order_of_members_matters(written: str, value: Any) -> None:
    assert json_values.digest(json.loads(written)) == json_values.digest(value)


def test_the_largest_exponents_are_cheap() -> None:
    """A double has at most 309 digits before the point. Larger numbers are refused when JSON is read."""
    assert json_values.canonical(1.7976931348623157e308) == "17976931348623157" + "0" * 292
    assert json_values.canonical(5e-324) == "5e-324"


@cases("value", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        json_values.digest([1.0, value])
