"""What needs attention now. Each item that counts rows links to a list of exactly these rows."""

from collections.abc import Collection, Mapping, Sequence
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
from foundation.database.bounded import counts_up_to
from foundation.plurals import up_to
from releases import queries
from releases.models import ActivationRequest, Release
from releases.states import RequestStatus

MOST_COUNTED: Final = 10_000
FAILING_SHOWN: Final = 5
CODES_SHOWN: Final = 3
SOON: Final = timedelta(hours=1)


# What is said of one and of several.
TEXTS: Final = {
    "alerts": ("alert is firing", "alerts are firing"),
    "outcomes": (
        "second passes before outcomes are read: no work is sent",
        "seconds pass before outcomes are read: no work is sent",
    ),
    "stranded": ("execution waits for a worker", "executions wait for a worker"),
    "failures": ("failure group is not acknowledged", "failure groups are not acknowledged"),
    "artifacts": ("release has damaged or missing artifacts", "releases have damaged or missing artifacts"),
    "questions": ("question must be answered within the hour", "questions must be answered within the hour"),
    "approvals": ("activation request waits for approval", "activation requests wait for approval"),
    "rejected": ("upload was rejected and not repeated", "uploads were rejected and not repeated"),
    "drift": ("worker differs from its release", "workers differ from their releases"),
    "paused": ("pause is in effect", "pauses are in effect"),
    "campaigns": ("campaign is paused", "campaigns are paused"),
}
# Icon, list, and the filters with which the list shows the rows.
LISTS: Final[Mapping[str, tuple[str, str, dict[str, str]]]] = {
    "alerts": ("notifications_active", "alerts_alert", {"state": Alert.State.FIRING.value}),
    "outcomes": ("schedule", "executions_worker", {}),
    "stranded": ("hourglass_top", "executions_execution", {"stranded": "yes"}),
    "failures": ("report", "executions_failuregroup", {"state": "new"}),
    "artifacts": ("broken_image", "releases_release", {"artifacts": "unsound"}),
    "questions": ("alarm", "executions_interaction", {"deadline": "hour"}),
    "approvals": ("how_to_vote", "releases_activationrequest", {"status": RequestStatus.OPEN.value}),
    "rejected": ("upload_file", "releases_release", {"status": queries.REJECTED_RECENTLY}),
    "drift": ("difference", "executions_worker", {"drift": "yes"}),
    "paused": ("pause_circle", "executions_hold", {}),
    "campaigns": ("campaign", "executions_campaign", {"status": Campaign.Status.PAUSED.value}),
}
ALARMS: Final = frozenset({"alerts", "outcomes", "stranded", "failures", "artifacts", "questions"})


@dataclass(frozen=True, slots=True)
class Item:
    """Something that needs attention, and where its rows are listed."""

    key: str
    count: int
    icon: str
    address: str

    @property
    def text(self) -> str:
        singular, plural = TEXTS[self.key]
        return singular if self.count == 1 else plural

    @property
    def is_alarm(self) -> bool:
        return self.key in ALARMS

    @property
    def number(self) -> str:
        return up_to(self.count, MOST_COUNTED)


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
    now = timezone.now()
    of_tenants = {"tenant__in": tenant_ids}
    releases = Release.objects.filter(pipeline__tenant__in=tenant_ids)
    questions = Interaction.objects.filter(IS_QUESTION, **of_tenants)
    requests = ActivationRequest.objects.filter(pipeline__tenant__in=tenant_ids, status=RequestStatus.OPEN)
    rows: dict[str, QuerySet[Any]] = {
        "alerts": Alert.objects.filter(**of_tenants, state=Alert.State.FIRING),
        "failures": FailureGroup.objects.filter(is_new(), **of_tenants),
        "artifacts": queries.with_unsound_artifacts(releases),
        "questions": questions.filter(deadline__gt=now, deadline__lte=now + SOON),
        "approvals": requests,
        "rejected": queries.rejected_recently(releases),
        "paused": Hold.objects.filter(**of_tenants, ended_at=None),
        "campaigns": Campaign.objects.filter(**of_tenants, status=Campaign.Status.PAUSED),
    }
    counts = dict(zip(rows, counts_up_to(MOST_COUNTED, rows.values()), strict=True)) | {
        "outcomes": int(message_path.outcome_delay()),
        "stranded": sum(release.count for release in stranded),
        "drift": differing,
    }
    return [
        Item(key, counts[key], icon, _list(page, **filters))
        for key, (icon, page, filters) in LISTS.items()
        if counts[key]
    ]


def failing(recent: Mapping[int, Failures], hour: Series, releases: Mapping[int, Release]) -> list[Failing]:
    """Return the releases with failures in the last hour.

    Active releases come first, because new executions fail there, and then those with the highest failure rate.
    """
    items = [
        Failing(
            releases[pk], failures.last_hour, hour.total(pk), failures.codes[:CODES_SHOWN], _failures_of(releases[pk])
        )
        for pk, failures in recent.items()
        if failures.last_hour
    ]
    return sorted(items, key=_urgency)


def _urgency(failing: Failing) -> tuple[bool, float, int, int]:
    rate = failing.totals.failure_rate or 0.0
    return not failing.release.is_active, -rate, -failing.count, failing.release.pk


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
