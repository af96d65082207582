"""Finds the constraint that a statement violated."""

from django.db import IntegrityError


def violated_constraint(error: IntegrityError) -> str | None:
    """Return the name of the constraint; None if the error does not contain one."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
