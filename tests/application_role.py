"""Runs tests with the rights of the product's processes. The tests themselves log in as the owner."""

from urllib.parse import urlsplit

import pytest
from django.db import connection

from tests.cases import defer_constraints
from tests.servers import ORDINARY_URL


@pytest.fixture(autouse=True)
def application_role(request: pytest.FixtureRequest) -> None:
    """A test in a transaction has the rights of the application role. `as_owner` lifts them for a block."""
    if request.node.get_closest_marker("django_db") and "transactional_db" not in request.fixturenames:
        request.getfixturevalue("db")
        defer_constraints()
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('role', %s, false)", [urlsplit(ORDINARY_URL).username])
