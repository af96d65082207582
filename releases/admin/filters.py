"""Filters that the lists of releases, executions and workers share."""

from collections.abc import Iterator

from releases.models import Pipeline
from tenancy.access import tenants_of
from tenancy.console.lists import Person, ScopedFilter

CHOICES_SHOWN = 100


class PipelineFilter(ScopedFilter):
    """Filters by pipeline id."""

    title = parameter_name = "pipeline"
    lookup = "pipeline__pipeline_id"

    def choices_for(self, person: Person) -> Iterator[tuple[str, str]]:
        rows = Pipeline.objects.filter(tenant__in=tenants_of(person)).order_by("pipeline_id")
        names = rows.values_list("pipeline_id", flat=True).distinct()
        yield from ((name, name) for name in names[:CHOICES_SHOWN])
