"""Fixtures: the rights of the application role, and a broker that cannot be reached."""

from tests.executions.conftest import application_role, broken_broker

__all__ = ["application_role", "broken_broker"]
