"""A plain check accepts only what its serializer accepts and returns unchanged."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers

from foundation.api.fields import Identifier, SegmentIdentifier, StrictSerializer, Text
from foundation.api.plain_check import plain_check
from tests.cases import cases


class Request(StrictSerializer):
    name = SegmentIdentifier(max_length=10)
    key = Identifier(max_length=5)
    value = serializers.JSONField()
    anything = serializers.JSONField(required=False, allow_null=True, default=None)
    version = SegmentIdentifier(max_length=10, required=False, allow_null=True, default=None)
    names = serializers.ListField(child=Identifier(max_length=5), max_length=2, required=False, default=list)


GOOD: dict[str, Any] = {"name": "orders", "key": "a/b", "value": {"n": 1}}
is_plain = plain_check(Request())


@cases(
    "more",
    [
        *({}, {"version": "1.0"}, {"version": None, "anything": None}, {"value": 0}, {"value": []}),
        *({"key": "😀"}, {"names": []}, {"names": ["a/b", "c"]}),
    ],
)
def test_valid_bodies_are_plain(more: dict[str, Any]) -> None:
    body = {**GOOD, **more}
    assert is_plain(body)
    assert {name: value for name, value in Request.validated(body).items() if name in body} == body


NO_NAMES: tuple[Any, ...] = (None, "a", {}, ["a"] * 3, [""], ["x" * 6], [1], [None], [["a"]])


@cases(
    "more",
    [
        *({"name": text} for text in ("", " ", "a/b", "a\0b", "e\u0301", "x" * 11, "..", 1, None, ["a"], True)),
        *({"key": text} for text in ("", "x" * 6, 1.0, None)),
        *({"names": names} for names in NO_NAMES),
        *({"value": None}, {"version": "a/b"}, {"version": ""}, {"version": 1}, {"other": 1}, {"Name": "a"}),
    ],
)
def test_invalid_bodies_are_not_plain(more: dict[str, Any]) -> None:
    body = {**GOOD, **more}
    assert not is_plain(body)
    assert not Request(data=body).is_valid()


def test_only_objects_with_all_required_members_are_plain() -> None:
    for missing in GOOD:
        assert not is_plain({name: value for name, value in GOOD.items() if name != missing})
    for body in (None, [], "text", 1, [GOOD]):
        assert not is_plain(body)


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2)


@given(st.dictionaries(st.sampled_from([*Request().fields, "other"]), JSON))
def test_each_plain_body_is_valid_and_unchanged(body: dict[str, Any]) -> None:
    request = Request(data=body)
    valid = request.is_valid()
    assert is_plain(body) is valid, request.errors
    if valid:
        assert {name: request.validated_data[name] for name in body} == body


class Described(StrictSerializer):
    text = Text(max_length=10)


class Unlimited(StrictSerializer):
    key = Identifier()


def test_other_fields_have_no_plain_check() -> None:
    for request in (Described(), Unlimited()):
        with pytest.raises(TypeError):
            plain_check(request)
