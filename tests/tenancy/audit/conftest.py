"""Tests in this package commit, because a chain is verified in a separate transaction."""

from tests.concurrency.conftest import committed

__all__ = ["committed"]
