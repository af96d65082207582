"""Finds executions by the beginning of their idempotency key or of their id, as the list of executions does."""

from typing import Final

from django.http import HttpRequest

from coordinator.palette.found import EACH, Found, page
from executions.models import Execution
from executions.search.conditions import Search
from executions.search.matching import matching
from foundation.database.bounded import time_limit
from tenancy.access import tenants_of

SHORTEST: Final = 2
SECONDS: Final = 1


def find(request: HttpRequest, term: str) -> list[Found]:
    """Return at most EACH executions of the user's tenants: those whose key is the term, and then the newest.

    Raises `QueryTooSlow` if the search takes longer than SECONDS.
    """
    if len(term) < SHORTEST or "\0" in term:
        return []
    with time_limit(SECONDS):
        rows = matching(list(tenants_of(request.user)), Search(text=term))
        found = [*rows.filter(execution_key=term)[:EACH], *rows[:EACH]]
    return [_found(each) for each in list(dict.fromkeys(found))[:EACH]]


def _found(execution: Execution) -> Found:
    title = f"Execution {execution.execution_key}"
    kind = f"{execution.shown_status}, {execution.pipeline_id} {execution.release_version}, {execution.tenant.slug}"
    return Found(title, kind, page("executions_execution_change", execution.pk), "play_circle")
