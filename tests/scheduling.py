"""The order of the tests. Each module runs in one process."""

from itertools import takewhile

import pytest

SHORT = "tests/unit/"
"""A folder of short tests. At the end, they keep all processes busy while one still runs a long test."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the tests of the running product after those in a transaction, which would see what it commits."""
    transactions = {
        item.nodeid for item in takewhile(lambda item: "running" not in getattr(item, "fixturenames", ()), items[:])
    }

    def place(item: pytest.Item) -> int:
        if item.nodeid.startswith(SHORT):
            return 2
        return 0 if item.nodeid in transactions else 1

    items.sort(key=place)
