"""Finds executions by the beginning of their idempotency key or of their id."""

import re
import uuid
from typing import Any, Final

from django.db import connection
from django.http import HttpRequest

from coordinator.palette import statements
from coordinator.palette.found import EACH, Found, page
from executions.models import Execution
from tenancy.access import tenants_of

SHORTEST_KEY: Final = 2
SHORTEST_ID: Final = 8
"""The digits of an id that are needed: ids of about a minute have the same eight."""
HEXADECIMAL: Final = re.compile(r"[0-9a-f]+")


def find(request: HttpRequest, term: str) -> list[Found]:
    """Return the executions of the user's tenants, at most EACH by key and EACH by id."""
    tenants = list(tenants_of(request.user).values_list("pk", flat=True))
    ids = [*_by_key(tenants, term), *_by_id(tenants, term)]
    payloads = ("input", "result", "progress")
    found = Execution.objects.select_related("tenant").defer(*payloads).in_bulk(ids) if ids else {}
    return [_found(found[pk]) for pk in dict.fromkeys(ids) if pk in found]


def _by_key(tenants: list[int], term: str) -> list[uuid.UUID]:
    if len(term) < SHORTEST_KEY:
        return []
    parameters = {"prefix": term, "upper": term + "\U0010ffff", "tenants": tenants, "most": EACH}
    return _ids(statements.BY_KEY, parameters)


def _by_id(tenants: list[int], term: str) -> list[uuid.UUID]:
    digits = term.casefold().replace("-", "")
    if not SHORTEST_ID <= len(digits) <= 32 or not HEXADECIMAL.fullmatch(digits):
        return []
    first, last = (uuid.UUID(digits.ljust(32, digit)) for digit in "0f")
    return _ids(statements.BY_ID, {"first": first, "last": last, "tenants": tenants, "most": EACH})


def _ids(statement: str, parameters: dict[str, Any]) -> list[uuid.UUID]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [pk for (pk,) in cursor.fetchall()]


def _found(execution: Execution) -> Found:
    title = f"Execution {execution.execution_key}"
    kind = f"{execution.shown_status}, {execution.pipeline_id} {execution.release_version}, {execution.tenant.slug}"
    return Found(title, kind, page("executions_execution_change", execution.pk), "play_circle")
