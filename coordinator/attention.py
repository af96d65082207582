"""What needs attention now. Each item that counts rows links to a list of exactly these rows."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from alerts.models import Alert
from executions.models import IS_QUESTION, Campaign, FailureGroup, Hold, Interaction, is_new
from executions.statistics import MOST_READ, Failures, Series, Totals
from executions.workers import message_path
from executions.workers.eligibility import Stranded
from releases import queries
from releases.models import ActivationRequest, Release
from releases.states import RequestStatus

MOST_COUNTED: Final = 10_000
FAILING_SHOWN: Final = 5
CODES_SHOWN: Final = 3
SOON: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Item:
    """Something that needs attention: how often, its names for one and for several, and where the rows are listed."""

    key: str
    count: int
    one: str
    several: str
    icon: str
    address: str
    is_alarm: bool = False

    @property
    def text(self) -> str:
        return self.one if self.count == 1 else self.several

    @property
    def number(self) -> str:
        return f"more than {MOST_COUNTED:,}" if self.count > MOST_COUNTED else f"{self.count:,}"


@dataclass(frozen=True, slots=True)
class Failing:
    """A release whose executions failed in the last hour, with its most frequent error codes."""

    release: Release
    count: int
    totals: Totals
    codes: Sequence[tuple[str, int]]
    address: str

    @property
    def number(self) -> str:
        return f"{MOST_READ - 1:,} or more" if self.count >= MOST_READ - 1 else f"{self.count:,}"


def items(tenant_ids: Collection[int], stranded: Sequence[Stranded], *, differing: int) -> list[Item]:
    """Return what needs attention in these tenants. `differing` is the number of workers that differ."""
    found = _items(tenant_ids, sum(each.count for each in stranded), differing)
    return [item for item in found if item.count]


def _items(tenant_ids: Collection[int], stranded: int, differing: int) -> Iterator[Item]:
    now = timezone.now()
    of = {"tenant__in": tenant_ids}
    releases = Release.objects.filter(pipeline__tenant__in=tenant_ids)
    yield Item(
        "alerts",
        _at_most(Alert.objects.filter(**of, state=Alert.State.FIRING)),
        "alert is firing",
        "alerts are firing",
        "notifications_active",
        _list("alerts_alert", state=Alert.State.FIRING.value),
        True,
    )
    yield Item(
        "outcomes",
        int(message_path.outcome_delay()),
        "second passes before outcomes are read: no work is sent",
        "seconds pass before outcomes are read: no work is sent",
        "schedule",
        _list("executions_worker"),
        True,
    )
    yield Item(
        "stranded",
        stranded,
        "execution waits for a worker",
        "executions wait for a worker",
        "hourglass_top",
        _list("executions_execution", stranded="yes"),
        True,
    )
    groups = _at_most(FailureGroup.objects.filter(is_new(), **of))
    yield Item(
        "failures",
        groups,
        "failure group is not acknowledged",
        "failure groups are not acknowledged",
        "report",
        _list("executions_failuregroup", state="new"),
        True,
    )
    unsound = _at_most(queries.with_unsound_artifacts(releases))
    yield Item(
        "artifacts",
        unsound,
        "release has damaged or missing artifacts",
        "releases have damaged or missing artifacts",
        "broken_image",
        _list("releases_release", artifacts="unsound"),
        True,
    )
    questions = Interaction.objects.filter(IS_QUESTION, **of)
    due = _at_most(questions.filter(deadline__gt=now, deadline__lte=now + SOON))
    yield Item(
        "questions",
        due,
        "question must be answered within the hour",
        "questions must be answered within the hour",
        "alarm",
        _list("executions_interaction", deadline="hour"),
        True,
    )
    requests = ActivationRequest.objects.filter(pipeline__tenant__in=tenant_ids, status=RequestStatus.OPEN)
    yield Item(
        "approvals",
        _at_most(requests),
        "activation request waits for approval",
        "activation requests wait for approval",
        "how_to_vote",
        _list("releases_activationrequest", status=RequestStatus.OPEN.value),
    )
    rejected = _at_most(queries.rejected_recently(releases))
    yield Item(
        "rejected",
        rejected,
        "upload was rejected and not repeated",
        "uploads were rejected and not repeated",
        "upload_file",
        _list("releases_release", status=queries.REJECTED_RECENTLY),
    )
    yield Item(
        "drift",
        differing,
        "worker differs from its release",
        "workers differ from their releases",
        "difference",
        _list("executions_worker", drift="yes"),
    )
    yield Item(
        "paused",
        _at_most(Hold.objects.filter(**of, ended_at=None)),
        "pause is in effect",
        "pauses are in effect",
        "pause_circle",
        _list("executions_hold"),
    )
    campaigns = Campaign.objects.filter(**of, status=Campaign.Status.PAUSED)
    yield Item(
        "campaigns",
        _at_most(campaigns),
        "campaign is paused",
        "campaigns are paused",
        "campaign",
        _list("executions_campaign", status=Campaign.Status.PAUSED.value),
    )


def failing(recent: Mapping[int, Failures], hour: Series, releases: Mapping[int, Release]) -> list[Failing]:
    """Return the releases with failures in the last hour, those with the most failures first."""
    found = [
        Failing(
            releases[pk], failures.last_hour, hour.total(pk), failures.codes[:CODES_SHOWN], _failures_of(releases[pk])
        )
        for pk, failures in recent.items()
        if failures.last_hour
    ]
    return sorted(found, key=lambda each: (-each.count, each.release.pk))


def _failures_of(release: Release) -> str:
    pipeline = release.pipeline
    return _list(
        "executions_deadletter",
        since="hour",
        smoke="no",
        tenant=pipeline.tenant.slug,
        pipeline=pipeline.pipeline_id,
        release=release.release_version,
    )


def _list(model: str, **filters: str) -> str:
    address = reverse(f"admin:{model}_changelist")
    return f"{address}?{urlencode(filters)}" if filters else address


def _at_most(rows: QuerySet[Any]) -> int:
    """Count rows, at most MOST_COUNTED + 1."""
    return rows.order_by()[: MOST_COUNTED + 1].count()
