"""What is active where, with its health."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import OuterRef, Subquery

from executions.models import Worker, WorkerEligibility
from executions.statistics import finished
from executions.statistics.finished import Live, Series, Totals, live
from executions.workers.eligibility import differing
from releases.models import SWITCHES, Activation, Pipeline, Release

PIPELINES_SHOWN: Final = 100
UNHEALTHY_PERCENT: Final = 5.0
"""From this failure rate on, a release is marked."""


@dataclass
class Line:
    """A pipeline in the overview. `live` counts executions by state, `failed` those of the last 24 hours. With
    `more_live`, there are more live executions than `live` counts.

    `hour` has what finished in the last hour on the active release. `differing` counts workers that differ from their
    release.
    """

    pipeline: Any
    workers: int
    hour: Totals
    differing: int
    live: Counter[str] = field(default_factory=Counter)
    more_live: bool = False
    failed: int = 0

    @property
    def is_failing(self) -> bool:
        rate = self.hour.failure_rate
        return rate is not None and rate >= UNHEALTHY_PERCENT


@dataclass(frozen=True)
class Facts:
    """What the overview knows about the executions and workers of the tenants.

    `workers` counts those that admit new executions, by release. `differing` counts those that differ from their
    release, by tenant and pipeline id. `live` has the live executions by release.
    """

    workers: Counter[int | None]
    differing: Counter[tuple[int, str]]
    live: Mapping[int, Live]
    hour: Series
    day: Series

    @classmethod
    def of(cls, tenant_ids: Sequence[int]) -> "Facts":
        return cls(
            _admitting_workers(tenant_ids),
            Counter(differing(Worker.objects.filter(tenant__in=tenant_ids)).values_list("tenant_id", "pipeline_id")),
            live(tenant_ids),
            finished.last_hour(tenant_ids),
            finished.last_day(tenant_ids),
        )


def _admitting_workers(tenant_ids: Sequence[int]) -> Counter[int | None]:
    """Count the workers that admit new executions, by release."""
    rows = WorkerEligibility.objects.filter(WorkerEligibility.ADMITTING, worker__tenant__in=tenant_ids)
    return Counter(rows.values_list("release_id", flat=True))


def lines(tenant_ids: Sequence[int], facts: Facts, releases: Mapping[int, Release]) -> list[Line]:
    """Return the first PIPELINES_SHOWN pipelines. `releases` has the releases that `facts` names."""
    shown = {pipeline.pk: _line(pipeline, facts) for pipeline in _pipelines(tenant_ids)}
    for release_id, found in facts.live.items():
        if line := shown.get(releases[release_id].pipeline_id):
            line.live += found.statuses
            line.more_live = line.more_live or found.more
    for release_id, totals in facts.day.releases.items():
        if line := shown.get(releases[release_id].pipeline_id):
            line.failed += totals.failed
    return list(shown.values())


def _pipelines(tenant_ids: Sequence[int]) -> list[Any]:
    """Return the pipelines, each with its active release and `active_since`."""
    switches = Activation.objects.filter(pipeline=OuterRef("pk"), kind__in=SWITCHES).order_by("-sequence")
    rows = Pipeline.objects.filter(tenant__in=tenant_ids).select_related("tenant", "activation__release")
    rows = rows.defer("activation__release__descriptor", "activation__release__descriptor_document")
    annotated = rows.annotate(active_since=Subquery(switches.values("activated_at")[:1]))
    return list(annotated.order_by("tenant__slug", "pipeline_id")[:PIPELINES_SHOWN])


def _line(pipeline: Any, facts: Facts) -> Line:
    release = pipeline.activation.release_id if pipeline.activation else None
    return Line(
        pipeline,
        facts.workers[release] if release is not None else 0,
        facts.hour.total(release) if release is not None else Totals(),
        facts.differing[pipeline.tenant_id, pipeline.pipeline_id],
    )
