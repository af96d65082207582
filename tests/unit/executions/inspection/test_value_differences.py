"""The differences between two JSON values."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executions.inspection.value_differences import MISSING, differences
from tests.cases import cases
from wire.documents import json_values

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.", max_size=2), inner, max_size=3),
    max_leaves=12,
)


@cases(
    ("one", "other", "found"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [("input.a", 1, True)]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3, 4]}}, [("input.a.b[1]", 2, 3), ("input.a.b[2]", MISSING, 4)]),
        ({"a.b": 1}, {}, [('input["a.b"]', 1, MISSING)]),
        ([], {}, [("input", [], {})]),
        (None, {"x": 1}, [("input", None, {"x": 1})]),
        ({"a": None}, {}, [("input.a", None, MISSING)]),
    ],
)
def test_each_place_is_named(one: Any, other: Any, found: list[tuple[str, Any, Any]]) -> None:
    assert [(each.path, each.one, each.other) for each in differences("input", one, other)] == found


@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_if_the_values_differ(one: Any, other: Any) -> None:
    assert (next(differences("x", one, other), None) is None) == json_values.equal(one, other)
