import json
from typing import Any

import pytest
from django.db import connection
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wire.documents import json_writer

pytestmark = pytest.mark.django_db

NUMBERS = (
    st.integers(-3, 3)
    | st.integers(-3, 3).map(float)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(0, 308).flatmap(lambda exponent: st.sampled_from([10**exponent, float(f"1e{exponent}")]))
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=2)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150)
@given(JSON, JSON)
@example(1, 1.0)
@example(1, True)
@example(0, -0.0)
@example(10**16, 1e16)
@example(10**23, 1e23)
@example(2**53 + 1, float(2**53))
@example({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0})
@example(0.1, 0.1 + 2**-55)
def test_digests_are_equal_if_and_only_if_jsonb_values_are(one: Any, other: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::jsonb = %s::jsonb", [json.dumps(one), json.dumps(other)])
        [same] = cursor.fetchone()
    assert json_writer.equal(one, other) is same
    assert (json_writer.digest(one) == json_writer.digest(other)) is same
