"""The private names of libraries that the product overrides or uses exist with the expected parameters.

A test fails when a library has changed one of them. Then check the workaround (docs/upstream.md) with the new version.
"""

import inspect
from pkgutil import resolve_name

METHODS = {
    "kombu.transport.redis:Channel._brpop_read": ["self", "options"],
    "kombu.transport.redis:Channel._connparams": ["self", "asynchronous"],
    "kombu.transport.redis:Channel._create_client": ["self", "asynchronous"],
    "kombu.transport.redis:Channel._put": ["self", "queue", "message", "kwargs"],
    "kombu.transport.redis:Channel._queue_bind": ["self", "exchange", "routing_key", "pattern", "queue"],
    "kombu.transport.redis:Channel._restore": ["self", "message", "leftmost"],
    "kombu.transport.redis:QoS._remove_from_indices": ["self", "delivery_tag", "pipe"],
    "kombu.transport.virtual.base:Transport._deliver": ["self", "message", "queue"],
    "drf_spectacular.openapi:AutoSchema._get_filter_parameters": ["self"],
    "drf_spectacular.openapi:AutoSchema._get_response_bodies": ["self", "direction"],
    "drf_spectacular.openapi:AutoSchema._insert_field_validators": ["self", "field", "schema"],
    "drf_spectacular.openapi:AutoSchema._is_list_view": ["self", "serializer"],
    "drf_spectacular.openapi:AutoSchema._map_basic_serializer": ["self", "serializer", "direction"],
    "drf_spectacular.openapi:AutoSchema._map_serializer_field": ["self", "field", "direction", "bypass_extensions"],
}
ATTRIBUTES = [
    "kombu.transport.redis:Channel._closing",
    "kombu.transport.redis:Channel._in_poll",
    "kombu.transport.virtual.base:QoS._delivered",
]


def test_private_names_exist_and_private_methods_have_the_expected_parameters() -> None:
    found = {name: list(inspect.signature(resolve_name(name)).parameters) for name in METHODS}
    assert found == METHODS
    for name in ATTRIBUTES:
        resolve_name(name)
