"""Distributes tests over parallel processes. The groups of pytest-xdist 3.8 do not work with pytest 9.2."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONG: Sequence[str] = ("tests/clients/", "tests/distributions/", "tests/recovery/")
"""Folders whose tests need much CPU, or are sensitive to others that do. They run one after the other."""
MODULES: Sequence[str] = (
    *(
        "tests/deploy/",
        "tests/invariants/",
        "tests/foundation/database/postgresql/",
        "tests/embedded/test_postgres.py",
    ),
    "tests/wire/test_broker_acl.py",
    "tests/unit/pipelines/worker/test_hostile_steps.py",
)
"""Modules with fixtures that start servers or take long."""
SHORT = "tests/unit/"
"""A folder of short tests. At the end, they keep all processes busy while one still runs a long test."""


def group(nodeid: str) -> str:
    """Return the group of a test: "long", a module or the test itself. A group runs in one process."""
    module = nodeid.partition("::")[0]
    if module.startswith(tuple(LONG)):
        return "long"
    return module if module.startswith(tuple(MODULES)) else nodeid


class Groups(LoadScopeScheduling):
    """Assigns groups and single tests, in the order of pytest, to the first free process.

    The order matters. Tests in a transaction run first, because they would see what the product commits once it runs
    with the same database.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest group as soon as tests use the running product, and leave the short tests to the end."""
    transactions = takewhile(lambda item: "running" not in getattr(item, "fixturenames", ()), items[:])
    places = {item.nodeid: 0 for item in transactions}

    def place(item: pytest.Item) -> int:
        if item.nodeid.startswith(SHORT):
            return 3
        return 1 if group(item.nodeid) == "long" else places.get(item.nodeid, 2)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups:
    return Groups(config, log)
