"""The overview page. Smoke tests count only as stranded, because they wait for workers as others do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest

from coordinator import attention
from coordinator.navigation import MAX_COUNTED, waiting_count
from executions import statistics
from executions.models import Worker, WorkerEligibility
from executions.models.states import State
from executions.statistics import Live, Series, Totals, live
from executions.workers.eligibility import differing, stranded
from foundation.admin.charts import Chart, Layer, Mark, stacked
from releases.models import SWITCHES, Activation, Pipeline, Release
from tenancy.access import tenants_of
from tenancy.admin.base import holds_anywhere
from tenancy.roles import Scope

ACTIVATIONS_SHOWN: Final = 8
ACTIVATIONS_READ: Final = 50
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
            statistics.last_hour(tenant_ids),
            statistics.last_day(tenant_ids),
        )


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the overview of the user's tenants to the context of the index page. Unfold calls this."""
    tenant_ids = list(tenants_of(request.user).values_list("pk", flat=True))
    context = {**context, "title": "Overview", "has_tenants": bool(tenant_ids), "many_tenants": len(tenant_ids) > 1}
    if not tenant_ids:
        return context
    facts = Facts.of(tenant_ids)
    failed = statistics.recent(tenant_ids)
    releases = _releases({*facts.day.releases, *facts.hour.releases, *failed, *facts.live})
    found = _lines(tenant_ids, facts, releases)
    waiting = stranded(tenant_ids)
    activations = _activations(tenant_ids)
    failing = attention.failing(failed, facts.hour, releases)
    shown = {
        "attention": attention.items(tenant_ids, waiting, differing=facts.differing.total()),
        "failing": failing[: attention.FAILING_SHOWN],
        "more_failing": len(failing) - attention.FAILING_SHOWN,
        "stranded": waiting,
        "stranded_count": sum(each.count for each in waiting),
        "lines": found,
        "may_upload": holds_anywhere(request, Scope.REGISTER),
        "more_pipelines": len(found) == PIPELINES_SHOWN,
        "live_count": sum(each.total for each in facts.live.values()),
        "most_live": statistics.MOST_COUNTED,
        "more_live": any(each.more for each in facts.live.values()),
        "retry_count": sum(each.statuses[State.WAIT_RETRY.value] for each in facts.live.values()),
        "failed_count": sum(each.last_day for each in failed.values()),
        "most_failed": statistics.MOST_READ,
        "worker_count": facts.workers.total(),
        "waiting_count": waiting_count(tenant_ids),
        "max_counted": MAX_COUNTED,
        "panels": panels(facts.hour, facts.day, releases, activations),
        "activations": activations[:ACTIVATIONS_SHOWN],
    }
    return {**context, **shown}


def _activations(tenant_ids: Sequence[int]) -> list[Activation]:
    """Return the newest activations."""
    rows = Activation.objects.filter(pipeline__tenant__in=tenant_ids).order_by("-pk")
    return list(rows.select_related("pipeline__tenant", "release", "previous", "candidate")[:ACTIVATIONS_READ])


def _releases(ids: set[int]) -> dict[int, Release]:
    rows = Release.objects.select_related("pipeline__tenant").defer("descriptor", "descriptor_document")
    return rows.in_bulk(ids)


def _admitting_workers(tenant_ids: Sequence[int]) -> Counter[int | None]:
    """Count the workers that admit new executions, by release."""
    rows = WorkerEligibility.objects.filter(WorkerEligibility.ADMITTING, worker__tenant__in=tenant_ids)
    return Counter(rows.values_list("release_id", flat=True))


def _lines(tenant_ids: Sequence[int], facts: Facts, releases: Mapping[int, Release]) -> list[Line]:
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


RELEASES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Panel:
    """The two charts of a period. `interval` names the length of a bar, `since` is the start of the first."""

    title: str
    interval: str
    since: datetime
    finished: Chart
    failed: Chart
    activations: Sequence[Activation]

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        """The same as a table: for each release, how many executions finished and failed."""
        pairs = zip(self.finished.layers, self.failed.layers, strict=True)
        return [(finished.name, finished.total, failed.total) for finished, failed in pairs if finished.total]


def panels(
    hour: Series, day: Series, releases: Mapping[int, Release], activations: Sequence[Activation]
) -> list[Panel]:
    """Return the charts of the last hour and day. Each release has the same place, and so the same colour, in all."""
    ids = {*hour.releases, *day.releases}
    ordered = sorted(ids, key=lambda pk: (-day.total(pk).finished, pk))
    names = {pk: name_of(releases[pk], {each: releases[each] for each in ids}) for pk in ordered}
    return [
        _panel("Last hour", "minute", hour, names, activations),
        _panel("Last 24 hours", "hour", day, names, activations),
    ]


def _panel(
    title: str, interval: str, series: Series, names: Mapping[int, str], activations: Sequence[Activation]
) -> Panel:
    """Return the charts of a window. `names` has the releases in the order of their layers."""
    switches = [each for each in activations if each.kind in SWITCHES and each.activated_at >= series.window.since]
    marks = [Mark(series.window.position(each.activated_at), _switch(each)) for each in switches]
    ordered = list(names)

    def chart(member: str) -> Chart:
        layers = [Layer(names[pk], series.values(pk, member)) for pk in ordered[:RELEASES_SHOWN]]
        others = [series.values(pk, member) for pk in ordered[RELEASES_SHOWN:]]
        if others:
            layers.append(Layer(f"{len(others)} others", [sum(values) for values in zip(*others, strict=True)]))
        return stacked(layers, marks)

    return Panel(title, interval, series.window.since, chart("finished"), chart("failed"), switches)


def name_of(release: Release, among: Mapping[int, Release]) -> str:
    """Return the version of a release, after its pipeline if `among` has releases of several pipelines."""
    several = len({each.pipeline_id for each in among.values()}) > 1
    return f"{release.pipeline.pipeline_id} {release.release_version}" if several else release.release_version


def _switch(activation: Activation) -> str:
    return f"{activation.get_kind_display()}: {activation.pipeline.pipeline_id} {activation.release.release_version}"
