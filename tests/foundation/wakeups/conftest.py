"""Fixtures: the rights of the application role, and a broker that cannot be reached."""

from tests.executions.conftest import broken_broker

__all__ = ["broken_broker"]
