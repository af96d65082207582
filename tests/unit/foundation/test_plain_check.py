"""A plain check accepts only what its serializer accepts and returns unchanged."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers

from foundation.api.fields import Identifier, SegmentIdentifier, StrictSerializer
from foundation.api.plain_check import plain_check


class Request(StrictSerializer):
    name = SegmentIdentifier(max_length=10)
    key = Identifier(max_length=5)
    value = serializers.JSONField()
    anything = serializers.JSONField(required=False, allow_null=True, default=None)
    version = SegmentIdentifier(max_length=10, required=False, allow_null=True, default=None)
    names = serializers.ListField(child=Identifier(max_length=5), max_length=2, required=False, default=list)


is_plain = plain_check(Request())


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2)


@given(st.dictionaries(st.sampled_from([*Request().fields, "other"]), JSON))
def test_each_plain_body_is_valid_and_unchanged(body: dict[str, Any]) -> None:
    request = Request(data=body)
    valid = request.is_valid()
    assert is_plain(body) is valid, request.errors
    if valid:
        assert {name: request.validated_data[name] for name in body} == body
