from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from rest_framework import serializers

from foundation.api.fields import Identifier, SegmentIdentifier, StrictSerializer, plain_check


class Request(StrictSerializer):
    name = SegmentIdentifier(max_length=10)
    key = Identifier(max_length=5)
    value = serializers.JSONField()
    anything = serializers.JSONField(required=False, allow_null=True, default=None)
    version = SegmentIdentifier(max_length=10, required=False, allow_null=True, default=None)
    names = serializers.ListField(child=Identifier(max_length=5), max_length=2, required=False, default=list)


GOOD: dict[str, Any] = {"name": "orders", "key": "a/b", "value": {"n": 1}}
is_plain = plain_check(Request())
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2)


@given(st.dictionaries(st.sampled_from([*Request().fields, "other"]), JSON, max_size=2))
@example({})
@example({"name": "e\u0301"})
@example({"key": "x" * 6})
@example({"names": ["a/b", "c"]})
@example({"names": ["a"] * 3})
@example({"names": [1]})
@example({"version": "a/b"})
@example({"other": 1})
def test_a_body_is_plain_if_it_is_valid_and_unchanged(more: dict[str, Any]) -> None:
    body = {**GOOD, **more}
    request = Request(data=body)
    valid = request.is_valid()
    assert is_plain(body) is valid, request.errors
    if valid:
        assert {name: request.validated_data[name] for name in body} == body
    assert not is_plain({"name": "orders"})
