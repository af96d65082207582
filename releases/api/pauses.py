"""REST: the member `paused` of pipelines, releases and executions. Each has a relation `holds`."""

from typing import Any, TypeVar

from django.db.models import F, FilteredRelation, Model, Q, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

Row = TypeVar("Row", bound=Model)


class PausedView(serializers.Serializer[Any]):
    since = serializers.DateTimeField()
    by = serializers.CharField()
    reason = serializers.CharField()


def with_pauses(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Return the rows with their pauses, so that `paused` needs no query for each. A row has at most one open hold."""
    joined = rows.annotate(open_hold=FilteredRelation("holds", condition=Q(holds__ended_at=None)))
    found: QuerySet[Row] = joined.annotate(
        paused_since=F("open_hold__started_at"),
        paused_by=F("open_hold__started_by"),
        paused_reason=F("open_hold__reason"),
    )
    return found


def pause_of(row: Any) -> dict[str, Any] | None:
    """Return the content of `paused`: the open hold of the row itself; None if it has none."""
    if getattr(row, "held", True) is False:
        return None  # only executions have this column
    if hasattr(row, "paused_since"):
        since, by, reason = row.paused_since, row.paused_by, row.paused_reason
    else:
        columns = row.holds.filter(ended_at=None).values_list("started_at", "started_by", "reason")
        since, by, reason = columns.first() or (None, None, None)
    return dict(PausedView({"since": since, "by": by, "reason": reason}).data) if since else None


class PausableView(serializers.Serializer[Row]):
    paused = serializers.SerializerMethodField(
        help_text="The pause of this object itself. Null if it is not paused, even if its pipeline is."
    )

    @extend_schema_field(PausedView(allow_null=True))
    def get_paused(self, row: Any) -> dict[str, Any] | None:
        return pause_of(row)
