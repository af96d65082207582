"""Which constraint of the database a statement violated."""

from django.db import IntegrityError


def violated_constraint(error: IntegrityError) -> str | None:
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
