"""The rows of the list of questions, and a mark by which an open page learns that they have changed."""

import hashlib
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final

from django.db.models import Case, JSONField, QuerySet, When
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils import timezone

from executions.console.payloads import tenants_shown
from executions.models import Interaction
from tenancy.console.base import LongList
from tenancy.console.lists import LimitedList
from tenancy.roles import Scope

MARKED: Final = ("pk", "status", "deadline", "claimed_until", "claimed_by", "delegate", "assignee", "group")
"""What decides which questions a list shows, and as what. Everything else of a question never changes."""


# The short scalars of a request. Requests may be large, so the database picks them.
SHORT_MEMBERS = """
CASE jsonb_typeof(executions_interaction.request) WHEN 'object' THEN (
    SELECT jsonb_object_agg(key, value) FROM (
        SELECT key, value FROM jsonb_each(executions_interaction.request)
        WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND length(value::text) <= 200 LIMIT 50) m)
END
"""


class QuestionList(LimitedList):
    """The questions of one page. `mark` changes with what is shown of them, also when a claim or a deadline ends.

    Each has its execution, and `members` of its request: None unless the user may read it.
    """

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Interaction]:
        listed: Any = super().get_queryset(request, exclude_parameters)
        rows: QuerySet[Interaction] = listed.select_related(None).with_executions()
        short = RawSQL(SHORT_MEMBERS, (), output_field=JSONField())  # noqa: S611  # nosec B611 - a constant
        members = When(tenant__in=tenants_shown(request, Scope.ANSWER), then=short)
        return rows.annotate(members=Case(members, output_field=JSONField()))

    @cached_property
    def mark(self) -> str:
        return _mark(tuple(getattr(row, name) for name in MARKED) for row in self.result_list)


class QuestionMarks(LimitedList):
    """The mark alone, which needs one statement without requests and executions, and one for each filter in use."""

    def __init__(self, request: HttpRequest, pages: LongList) -> None:
        super().__init__(
            request,
            pages.model,
            list_display=(),
            list_display_links=None,
            list_filter=pages.get_list_filter(request),
            date_hierarchy=None,
            search_fields=pages.search_fields,
            list_select_related=False,
            list_per_page=pages.list_per_page,
            list_max_show_all=pages.list_max_show_all,
            list_editable=(),
            model_admin=pages,
            sortable_by=pages.sortable_by,
            search_help_text="",
        )

    @cached_property
    def mark(self) -> str:
        return _mark(self.result_list)

    def rows_of_page(self) -> list[Any]:
        return list(self.result_list.values_list(*MARKED))


def _mark(rows: Iterable[tuple[Any, ...]]) -> str:
    now = timezone.now()
    shown = [
        (pk, status, deadline <= now, until is not None and until > now and (until, claimant), others)
        for pk, status, deadline, until, claimant, *others in rows
    ]
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]
