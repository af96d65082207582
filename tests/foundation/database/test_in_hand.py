"""A result in hand is recorded although the database fails, unless the result is at fault."""

import pytest
from django.db import DataError, Error, InternalError, OperationalError, ProgrammingError

from foundation.database.writes import record_in_hand

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("error", [OperationalError, InternalError, ProgrammingError, DataError])
def test_only_values_that_the_database_rejects_are_not_recorded_again(error: type[Error]) -> None:
    """A column may be missing during an upgrade, and an index may be damaged."""
    left = [error("once")]

    def record() -> str:
        if left:
            raise left.pop()
        return "recorded"

    if error is DataError:
        with pytest.raises(DataError):
            record_in_hand(record)
    else:
        assert record_in_hand(record) == "recorded"
