"""The groups of tests that run in one process."""

import pytest

from embedded.product import PROJECT
from tests.scheduling import LONG, MODULES, SHORT, group


@pytest.mark.parametrize("path", [*LONG, *MODULES, SHORT])
def test_every_folder_and_module_that_is_named_exists(path: str) -> None:
    assert (PROJECT / path).exists()


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("tests/parts/recovery/test_web.py::test_it", "long"),
        ("tests/parts/clients/test_generated_clients.py::test_it", "long"),
        (
            "tests/foundation/database/postgresql/test_setup.py::test_it[a::b]",
            "tests/foundation/database/postgresql/test_setup.py",
        ),
        ("tests/unit/test_x.py::test_it[1]", "tests/unit/test_x.py::test_it[1]"),
    ],
)
def test_the_tests_of_a_folder_or_a_module_are_one_group(nodeid: str, expected: str) -> None:
    assert group(nodeid) == expected
