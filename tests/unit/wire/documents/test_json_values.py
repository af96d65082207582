"""Equality of JSON values. `executions/test_json_equality.py` compares it with PostgreSQL's."""

import pytest

from tests.cases import cases
from wire.documents import json_values


def test_values_that_look_alike_differ() -> None:
    values = [1, "1", True, [1], {"1": 1}, None, [], {}, "", "1.0", "null", "é", "e\u0301", "\ud800", 2**53 + 1]
    assert len({json_values.digest(value) for value in values}) == len(values)


@cases("value", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        json_values.digest([1.0, value])
