"""The overview page. Smoke tests count only as stranded, because they wait for workers as others do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from coordinator import attention
from coordinator.navigation import MAX_COUNTED, waiting_count
from executions import statistics
from executions.holds.holds import with_pauses
from executions.models import Worker, WorkerEligibility
from executions.models.states import State
from executions.statistics import Series, Totals, Window, live
from executions.workers.eligibility import differing, stranded
from foundation.admin.columns import rectangle, timed
from foundation.plurals import counted
from releases.models import SWITCHES, Activation, Pipeline, Release
from releases.queries import with_versions
from tenancy.access import tenants_of
from tenancy.console.base import held_in, holds_anywhere
from tenancy.roles import Scope

ACTIVATIONS_SHOWN: Final = 8
ACTIVATIONS_READ: Final = 50
PIPELINES_SHOWN: Final = 50
STRANDED_SHOWN: Final = 20
LIVE_SHOWN: Final = (State.QUEUED.value, State.RUNNING.value, State.WAIT_RETRY.value, State.WAITING_EXTERNAL.value)


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
    def live_counts(self) -> list[str]:
        """The numbers of live executions in the states LIVE_SHOWN."""
        more = "+" if self.more_live else ""
        return [f"{self.live[state]:,}{more}" for state in LIVE_SHOWN]


def overview(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the overview of the user's tenants to the context of the index page. Unfold calls this."""
    ids = held_in(request, Scope.READ)
    tenant_ids = list(tenants_of(request.user).values_list("pk", flat=True)) if ids is None else ids
    context = {**context, "title": "Overview", "has_tenants": bool(tenant_ids), "many_tenants": len(tenant_ids) > 1}
    if not tenant_ids:
        return context
    hour, day, alive = statistics.last_hour(tenant_ids), statistics.last_day(tenant_ids), live(tenant_ids)
    failed = statistics.recent(tenant_ids)
    releases = _releases({*day.releases, *hour.releases, *failed})
    pipelines = dict(Release.objects.filter(pk__in=alive).order_by().values_list("pk", "pipeline_id"))
    workers = _admitting_workers(tenant_ids)
    drifting = differing(Worker.objects.filter(tenant__in=tenant_ids)).values_list("tenant_id", "pipeline_id")
    differences = Counter(drifting)
    lines = _lines(tenant_ids, hour, workers, differences)
    for release_id, count in alive.items():
        if line := lines.get(pipelines[release_id]):
            line.live += count.statuses
            line.more_live = line.more_live or count.more
    for release_id, totals in day.releases.items():
        if line := lines.get(releases[release_id].pipeline_id):
            line.failed += totals.failed
    waiting = stranded(tenant_ids)
    activations = _activations(tenant_ids)
    failing = attention.failing(failed, hour, releases)
    shown = {
        "attention": attention.items(tenant_ids, waiting, differing=differences.total()),
        "failing": failing[: attention.FAILING_SHOWN],
        "more_failing": len(failing) - attention.FAILING_SHOWN,
        "stranded": waiting[:STRANDED_SHOWN],
        "more_stranded": len(waiting) - STRANDED_SHOWN,
        "stranded_count": sum(release.count for release in waiting),
        "lines": list(lines.values()),
        "may_upload": holds_anywhere(request, Scope.REGISTER),
        "more_pipelines": len(lines) == PIPELINES_SHOWN,
        "live_count": sum(count.total for count in alive.values()),
        "most_live": statistics.MOST_COUNTED,
        "more_live": any(count.more for count in alive.values()),
        "retry_count": sum(count.statuses[State.WAIT_RETRY.value] for count in alive.values()),
        "failed_count": sum(count.last_day for count in failed.values()),
        "most_failed": statistics.MOST_READ - 1,
        "worker_count": workers.total(),
        "waiting_count": waiting_count(request, Scope.READ),
        "max_counted": MAX_COUNTED,
        "panels": panels(hour, day, releases, activations),
        "activations": activations[:ACTIVATIONS_SHOWN],
    }
    return {**context, **shown}


def _activations(tenant_ids: Sequence[int]) -> list[Activation]:
    rows = with_versions(Activation.objects.filter(pipeline__tenant__in=tenant_ids)).order_by("-pk")
    return list(rows.select_related("pipeline__tenant")[:ACTIVATIONS_READ])


def _releases(ids: set[int]) -> dict[int, Release]:
    rows = Release.objects.select_related("pipeline__tenant", "pipeline__activation").only(
        *("release_version", "status", "pipeline__pipeline_id", "pipeline__tenant__slug"),
        "pipeline__activation__release_id",
    )
    return rows.in_bulk(ids)


def _admitting_workers(tenant_ids: Sequence[int]) -> Counter[int | None]:
    rows = WorkerEligibility.objects.filter(WorkerEligibility.ADMITTING, worker__tenant__in=tenant_ids)
    return Counter(rows.values_list("release_id", flat=True))


def _lines(
    tenant_ids: Sequence[int], hour: Series, workers: Counter[int | None], differences: Counter[tuple[int, str]]
) -> dict[int, Line]:
    """Return the first PIPELINES_SHOWN pipelines by id, each with its active release, `active_since` and `is_paused`.

    `workers` counts those that admit new executions, by release, and `differences` those that differ from their
    release, by tenant and pipeline id.
    """
    switches = Activation.objects.filter(pipeline=OuterRef("pk"), kind__in=SWITCHES).order_by("-sequence")
    rows = Pipeline.objects.filter(tenant__in=tenant_ids).select_related("tenant", "activation__release")
    of_release = ("activation__release__release_version", "activation__release__status")
    rows = rows.only("pipeline_id", "tenant__slug", "activation__candidate", *of_release)
    pipelines = with_pauses(rows.annotate(active_since=Subquery(switches.values("activated_at")[:1])))
    lines = {}
    for pipeline in pipelines.order_by("tenant__slug", "pipeline_id")[:PIPELINES_SHOWN]:
        release = pipeline.activation and pipeline.activation.release_id
        lines[pipeline.pk] = Line(
            pipeline,
            workers=workers[release] if release else 0,
            hour=hour.total(release) if release else Totals(),
            differing=differences[pipeline.tenant_id, pipeline.pipeline_id],
        )
    return lines


WIDTH: Final = 720
HEIGHT: Final = 120
GAP: Final = 0.2
"""The share of a bar's place that stays empty."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The values of one name: one for each interval."""

    name: str
    values: Sequence[int]

    @property
    def total(self) -> int:
        return sum(self.values)


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of layers of bars. `bars` has a path for each layer. `top` is the value at its upper edge."""

    layers: Sequence[Layer]
    bars: Sequence[str]
    top: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def total(self) -> int:
        return sum(layer.total for layer in self.layers)

    @property
    def highest(self) -> int:
        """The largest value of one interval, over all layers."""
        return max(map(sum, zip(*(layer.values for layer in self.layers), strict=True)), default=0)


def stacked(layers: Sequence[Layer]) -> Chart:
    """Return the chart of layers with equally many values, the first layer at the bottom."""
    count = max((len(layer.values) for layer in layers), default=0)
    heights = [sum(layer.values[place] for layer in layers) for place in range(count)]
    top = _round_up(max(heights, default=0))
    slot = WIDTH / count if count else WIDTH
    bases = [float(HEIGHT)] * count
    bars = []
    for layer in layers:
        path = ""
        for place, value in enumerate(layer.values):
            if value:
                height = HEIGHT * value / top
                bases[place] -= height
                path += rectangle(slot * (place + GAP / 2), bases[place], slot * (1 - GAP), height)
        bars.append(path)
    return Chart(layers, bars, top)


def _round_up(value: int) -> int:
    """Return the next number that is 1, 2 or 5 times a power of ten, at least 1."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= value:
                return factor * power
        power *= 10


RELEASES_SHOWN: Final = 3
"""How many releases have a colour. The others share one."""


@dataclass(frozen=True, slots=True)
class Switch:
    """An activation that the charts mark. `time` is the element that shows when it was."""

    at: datetime
    text: str
    time: SafeString | None


@dataclass(frozen=True, slots=True)
class Panel:
    """The two charts of a period. `interval` names the length of a bar. `times` are its start, middle and end.

    `lines` are the vertical lines that mark the `switches` in both charts.
    """

    title: str
    interval: str
    times: Sequence[datetime]
    finished: Chart
    failed: Chart
    switches: Sequence[Switch]
    lines: SafeString

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        """The same as a table: for each release, how many executions finished and failed."""
        pairs = zip(self.finished.layers, self.failed.layers, strict=True)
        return [(finished.name, finished.total, failed.total) for finished, failed in pairs if finished.total]


def panels(
    hour: Series, day: Series, releases: Mapping[int, Release], activations: Sequence[Activation]
) -> list[Panel]:
    """Return the charts of the last hour and day. Each release has the same place, and so the same colour, in all.

    Active releases come first, and are named so.
    """
    shown = {pk: releases[pk] for pk in (*hour.releases, *day.releases)}
    ordered = sorted(shown, key=lambda pk: (not shown[pk].is_active, -day.total(pk).finished, pk))
    several = len({release.pipeline_id for release in shown.values()}) > 1
    names = {pk: _name(shown[pk], several) for pk in ordered}
    switches = [
        Switch(activation.activated_at, _switch(activation), timed(activation.activated_at))
        for activation in activations
        if activation.kind in SWITCHES
    ]
    return [
        _panel("Last hour", "minute", hour, names, switches),
        _panel("Last 24 hours", "hour", day, names, switches),
    ]


def _panel(title: str, interval: str, series: Series, names: Mapping[int, str], switches: Sequence[Switch]) -> Panel:
    """Return the charts of a window. `names` has the releases in the order of their layers."""
    window, ordered = series.window, list(names)
    others = ordered[RELEASES_SHOWN:]

    def chart(member: str) -> Chart:
        layers = [Layer(names[pk], series.values(member, pk)) for pk in ordered[:RELEASES_SHOWN]]
        if others:
            layers.append(Layer(counted(len(others), "other release"), series.values(member, *others)))
        return stacked(layers)

    times = (window.since, window.since + (window.end - window.since) / 2, window.end)
    marked = [switch for switch in switches if window.since <= switch.at <= window.end]
    return Panel(title, interval, times, chart("finished"), chart("failed"), marked, _lines_of(marked, window))


def _lines_of(switches: Sequence[Switch], window: Window) -> SafeString:
    line = '<line x1="{0}" x2="{0}" y1="0" y2="{1}"><title>{2}</title></line>'
    slot = WIDTH / window.count
    return format_html_join(
        "", line, ((round(slot * window.position(switch.at), 2), HEIGHT, switch.text) for switch in switches)
    )


def _name(release: Release, several: bool) -> str:
    """Return the version of a release and whether it is active, after its pipeline if there are `several`."""
    version = f"{release.release_version} (active)" if release.is_active else release.release_version
    return f"{release.pipeline.pipeline_id} {version}" if several else version


def _switch(activation: Activation) -> str:
    return f"{activation.get_kind_display()}: {activation.pipeline.pipeline_id} {activation.release.release_version}"
