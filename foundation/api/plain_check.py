"""Checks request bodies without the machinery of Django REST Framework, which costs twenty times as much CPU."""

from collections.abc import Callable
from typing import Any

from rest_framework.serializers import Field, JSONField, ListField

from foundation.api.fields import Identifier, StrictSerializer

Check = Callable[[Any], bool]


def plain_check(request: StrictSerializer) -> Check:
    """Return a function that is True for bodies that `request` accepts without changing a value.

    The function is made from the fields of `request`, so the serializer stays the only definition of the request. False
    does not mean that a body is invalid: the serializer decides that, and says why.

    Raises TypeError for a field that is neither an identifier, a list of them, nor arbitrary JSON.
    """
    required = {name for name, field in request.fields.items() if field.required}
    checks = {name: _value_check(field) for name, field in request.fields.items()}

    def is_plain(body: Any) -> bool:
        if not isinstance(body, dict) or not body.keys() >= required:
            return False
        for name, value in body.items():
            check = checks.get(name)
            if check is None or not check(value):
                return False
        return True

    return is_plain


def _value_check(field: Field[Any, Any, Any, Any]) -> Check:
    if isinstance(field, Identifier):
        accepts = _identifier_check(field)
    else:
        accepts = _list_check(field) if isinstance(field, ListField) else _json_check(field)
    return (lambda value: value is None or accepts(value)) if field.allow_null else accepts


def _identifier_check(field: Identifier) -> Check:
    is_valid_text, longest = field.is_valid_text, field.max_length
    if longest is None:
        raise TypeError("an identifier needs a maximum length")
    return lambda value: isinstance(value, str) and len(value) <= longest and is_valid_text(value)


def _list_check(field: ListField) -> Check:
    accepts, longest = _value_check(field.child), field.max_length
    if longest is None:
        raise TypeError("a list needs a maximum length")
    return lambda value: isinstance(value, list) and len(value) <= longest and all(map(accepts, value))


def _json_check(field: Field[Any, Any, Any, Any]) -> Check:
    if not isinstance(field, JSONField):
        raise TypeError(f"{type(field).__name__} has no plain check")
    return lambda value: value is not None
