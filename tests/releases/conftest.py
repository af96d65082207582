"""The domain tests of releases have the rights of the application role."""

from tests.application_role import application_role

__all__ = ["application_role"]
