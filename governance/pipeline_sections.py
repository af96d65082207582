"""What the page of a pipeline says about its work: how its releases do, and the drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count
from django.utils import timezone

from executions.models import Interaction, WorkerEligibility
from executions.statistics import finished
from executions.statistics.finished import Totals
from governance.drift.drift import Kind, drift
from governance.sections import Section
from releases.models import SWITCHES, Activation, ActivationRequest, Pipeline, Release
from releases.states import UNDECIDED
from wire.documents.contract import TIMER

RELEASES_SHOWN: Final = 20
ACTIVATIONS_DRAWN: Final = 30
MOST_QUESTIONS: Final = 1_000
SHORTEST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Line:
    """A release that ran in the last day, has workers, or is active. `adoption` is its share in percent."""

    release: Release
    totals: Totals
    adoption: float
    workers: int
    is_active: bool


@dataclass(frozen=True, slots=True)
class Span:
    """The time in which a release was active, as a part of the picture in percent of its width."""

    version: str
    left: float
    width: float
    since: datetime
    layer: int


def health(pipeline: Pipeline) -> Section:
    """Return the section. Makes a fixed number of queries."""
    section: dict[str, Any] = {
        "pipeline": pipeline,
        "lines": _lines(pipeline),
        "spans": spans(_switches(pipeline), timezone.now()),
        "questions": _questions(pipeline),
        "most_questions": MOST_QUESTIONS,
        "scheduled": list(
            ActivationRequest.objects.filter(pipeline=pipeline, status__in=UNDECIDED)
            .select_related("release")
            .order_by("activate_at", "created_at")[:RELEASES_SHOWN]
        ),
    }
    return Section("executions/pipeline_health.html", section)


def _lines(pipeline: Pipeline) -> list[Line]:
    day = finished.last_day([pipeline.tenant_id], pipeline.pk)
    hosts = WorkerEligibility.objects.filter(WorkerEligibility.ADMITTING, release__pipeline=pipeline).order_by()
    workers = dict(hosts.values_list("release_id").annotate(count=Count("pk")))
    active = pipeline.activation.release_id if pipeline.activation else None
    candidate = pipeline.activation.candidate_id if pipeline.activation else None
    ids = {*day.releases, *workers, active, candidate} - {None}
    rows = Release.objects.filter(pk__in=ids).defer("descriptor", "descriptor_document").order_by("-pk")
    total = sum(totals.finished for totals in day.releases.values())
    return [
        Line(
            release,
            day.total(release.pk),
            100 * day.total(release.pk).finished / total if total else 0.0,
            workers.get(release.pk, 0),
            release.pk == active,
        )
        for release in rows[:RELEASES_SHOWN]
    ]


def _switches(pipeline: Pipeline) -> list[Activation]:
    """Return the newest activations that changed the active release, oldest first."""
    rows = Activation.objects.filter(pipeline=pipeline, kind__in=SWITCHES).order_by("-sequence")
    return list(rows.select_related("release")[:ACTIVATIONS_DRAWN])[::-1]


def spans(switches: Sequence[Activation], now: datetime) -> list[Span]:
    """Return when each release was active, from the first of `switches` until `now`."""
    if not switches:
        return []
    first = min(switches[0].activated_at, now - SHORTEST)
    total = (now - first).total_seconds()
    starts = [switch.activated_at for switch in switches]
    layers = {version: number for number, version in enumerate(dict.fromkeys(_version(each) for each in switches))}
    return [
        Span(
            _version(switch),
            round(100 * (start - first).total_seconds() / total, 3),
            round(100 * (end - start).total_seconds() / total, 3),
            start,
            layers[_version(switch)] % 6,
        )
        for switch, start, end in zip(switches, starts, [*starts[1:], now], strict=True)
    ]


def _version(switch: Activation) -> str:
    return switch.release.release_version


def _questions(pipeline: Pipeline) -> int:
    """Count the open questions of the pipeline, at most MOST_QUESTIONS + 1."""
    rows = Interaction.objects.filter(tenant=pipeline.tenant_id, status__in=Interaction.OPEN).exclude(transport=TIMER)
    return rows.filter(execution__pipeline_id=pipeline.pipeline_id).order_by()[: MOST_QUESTIONS + 1].count()


DRIFTS_SHOWN = 50
DRIFT_VARIANTS = {
    Kind.CONTRACT: "danger",
    Kind.ARTIFACT: "danger",
    Kind.ENVIRONMENT: "warning",
    Kind.DEPLOYMENT: "danger",
    Kind.CALLERS: "info",
}


def drift_of(pipeline: Pipeline) -> Section:
    found = drift(pipeline.tenant, pipeline)
    lines = [(each, DRIFT_VARIANTS[each.kind]) for each in found[:DRIFTS_SHOWN]]
    return Section("executions/drift.html", {"lines": lines, "more": max(len(found) - DRIFTS_SHOWN, 0)})
