"""Stored bytes that are damaged or missing."""

from django.db import connection

from alerts.conditions import statements
from alerts.conditions.finding import Finding, Look


def damaged(look: Look) -> list[Finding]:
    """Find the registered releases that pin bytes which are damaged or missing."""
    with connection.cursor() as cursor:
        cursor.execute(statements.DAMAGED, look.parameters())
        rows = cursor.fetchall()
    return [
        Finding(
            f"release:{pk}",
            f"Artifacts of {name} {version} are damaged or missing",
            f"/admin/releases/release/{pk}/change/",
            f"{count} of its digests, such as {digest}. New executions of the release are refused.",
        )
        for pk, name, version, count, digest in rows
    ]
