"""Problem documents, strict parsers and fields, pagination, OpenAPI."""

import sys
from typing import Any, Final

UNUSED: Final = ("jinja2", "markdown", "pygments", "requests")
"""Packages that Django REST framework and Django's test client, which drf-spectacular loads, import if they can.

They are for features that the product does not use, and would take a tenth of a second at each start.
"""


def _import_without(unused: tuple[str, ...]) -> None:
    """Import what would load these packages, as if they were not installed. Other modules may import them later."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in unused if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        import rest_framework.test  # noqa: F401
    finally:
        for name in hidden:
            del modules[name]


_import_without(UNUSED)
