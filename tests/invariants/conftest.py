"""The database that tests may commit to."""

from tests.concurrency.conftest import race_database

__all__ = ["race_database"]
