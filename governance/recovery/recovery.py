"""Guides from a bad release to its recovery: what it accepted, and drafts of campaigns that act on one part of that.

A draft is a preview. Starting, pausing and cancelling it is up to campaigns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.db.models import QuerySet

from executions import statistics
from executions.errors import CampaignEmpty, CampaignTargetInvalid, ReleaseNotAdmitted
from executions.inspection.counts import MOST_READ, Count, counts_of
from executions.models import Campaign, Execution, Hold, StartFrom
from executions.models.states import State
from executions.statistics import Totals
from governance.campaigns import drafts
from governance.campaigns.campaigns import Options
from governance.campaigns.selection import Filters, chosen, selected
from governance.recovery.continuation import Position, Verdict, continuation, unresolved
from governance.reports.comparison import named_release
from releases import queries
from releases.models import Activation, Release
from releases.models.activation import SWITCHES
from releases.states import Status

Kind = Campaign.Kind
CANARY: Final = 5
"""How many executions of a draft that runs them again go first, unless the person who starts it decides otherwise."""
STOP_AFTER: Final = 10
TARGETS_SHOWN: Final = 20
CAMPAIGNS_SHOWN: Final = 20
OPEN: Final = (Campaign.Status.DRAFTING, Campaign.Status.DRAFT, Campaign.Status.RUNNING, Campaign.Status.PAUSED)


class Part(StrEnum):
    """A part of what a release accepted, by the state of the executions now."""

    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"


STATES: Final[Mapping[Part, tuple[State, ...]]] = {
    Part.RUNNING: (State.QUEUED, State.RUNNING, State.WAIT_RETRY),
    Part.WAITING: (State.WAITING_EXTERNAL,),
    Part.FAILED: (State.FAILED, State.DLQ),
    Part.SUCCEEDED: (State.SUCCEEDED,),
    Part.CANCELLED: (State.CANCELLED,),
}
KINDS: Final[Mapping[Part, tuple[Campaign.Kind, ...]]] = {
    Part.RUNNING: (Kind.PAUSE, Kind.CANCEL),
    Part.WAITING: (Kind.PAUSE, Kind.CANCEL),
    Part.FAILED: (Kind.RESUBMIT, Kind.REDRIVE),
    Part.SUCCEEDED: (),
    Part.CANCELLED: (),
}
"""What a campaign can do with the executions of a part."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """How many executions of the release are in a part, by state. If it is not complete, there may be more.

    `kinds` are those of the campaigns that can act on them.
    """

    part: Part
    counts: tuple[Count, ...]
    kinds: tuple[Campaign.Kind, ...]

    @property
    def count(self) -> int:
        return sum(count.count for count in self.counts)

    @property
    def is_complete(self) -> bool:
        return all(count.is_complete for count in self.counts)


@dataclass(frozen=True, slots=True)
class Target:
    """A release that may take over. `totals` has its executions that finished in the last `statistics.KEPT_DAYS`."""

    release: Release
    totals: Totals


@dataclass(frozen=True, slots=True)
class Recovery:
    """Where the recovery from `release` stands.

    `active` is the active release of the pipeline, if there is one. `hold` is the open pause of the release or of its
    pipeline. `targets` are the releases that may take over, as `targets` returns them. `open_campaigns` are the newest
    ones over executions of the release, with drafts: other people may be at work. `unresolved` counts the failed
    executions whose work no other one carries on, at most MOST_READ of them.
    """

    release: Release
    active: Release | None
    hold: Hold | None
    accepted: list[Accepted]
    targets: list[Target]
    open_campaigns: list[Campaign]
    unresolved: int

    @property
    def is_active(self) -> bool:
        return self.active is not None and self.active.pk == self.release.pk

    @property
    def target(self) -> Release | None:
        return self.targets[0].release if self.targets else None


def recovery(release: Release) -> Recovery:
    """Return where the recovery from the release stands. Reads a bounded number of rows."""
    pipeline = queries.pipeline(release.pipeline.tenant, release.pipeline.pipeline_id)
    holds = Hold.objects.filter(ended_at=None)
    hold = holds.filter(release=release).first() or holds.filter(pipeline=pipeline).first()
    campaigns = Campaign.objects.filter(
        tenant=pipeline.tenant, status__in=OPEN, filters__contains=_filters(release).to_json()
    )
    newest = list(campaigns.order_by("-created_at", "-pk")[:CAMPAIGNS_SHOWN])
    left = unresolved(release)[:MOST_READ].count()
    return Recovery(release, pipeline.active_release, hold, _accepted(release), targets(release), newest, left)


def _filters(release: Release) -> Filters:
    return Filters(pipeline_id=release.pipeline.pipeline_id, release_version=release.release_version)


def _accepted(release: Release) -> list[Accepted]:
    counts = counts_of(release).counts
    parts = []
    for part, states in STATES.items():
        counted = tuple(count for count in counts if count.status in states)
        parts.append(Accepted(part, counted, kinds_of(release, part) if counted else ()))
    return parts


def kinds_of(release: Release, part: Part) -> tuple[Campaign.Kind, ...]:
    """Return what a campaign can do with the executions of a part. Nothing runs again on a retired release."""
    is_retired = release.status == Status.RETIRED
    return tuple(kind for kind in KINDS[part] if not (is_retired and kind == Kind.REDRIVE))


def targets(release: Release) -> list[Target]:
    """Return the registered releases of the pipeline that were active, without `release`, the proposed one first.

    Those that fail often come last. Otherwise, the newest activation comes first, so the active release does. They are
    at most TARGETS_SHOWN.
    """
    switches = Activation.objects.filter(pipeline=release.pipeline_id, kind__in=SWITCHES)
    switches = switches.exclude(release=release).filter(release__status=Status.REGISTERED)
    newest = switches.order_by("-sequence").values_list("release", flat=True)[: 5 * TARGETS_SHOWN]
    keys = list(dict.fromkeys(newest))[:TARGETS_SHOWN]
    rows = Release.objects.select_related("pipeline__tenant", "contract").in_bulk(keys)
    totals = statistics.finished(keys)
    return [Target(rows[key], totals[key]) for key in sorted(keys, key=lambda key: totals[key].fails_often)]


def target_of(release: Release, version: str) -> Release:
    """Return the release with this version, which takes over executions of `release`.

    It may be one that was never active, such as a repaired one: a campaign waits until it is. Raises `ReleaseUnknown`,
    `ReleaseNotAdmitted` if it is not registered, and `CampaignTargetInvalid` if it is `release` itself.
    """
    target = named_release(release.pipeline, version)
    if target.pk == release.pk:
        raise CampaignTargetInvalid("The failed executions are on this release already. Re-drive them.")
    if target.status != Status.REGISTERED:
        raise ReleaseNotAdmitted(f"Release {version!r} is {target.status}.", releaseStatus=target.status)
    return target


def draft(
    release: Release,
    part: Part,
    kind: Campaign.Kind,
    *,
    actor: str,
    target: Release | None = None,
    verdict: Verdict = Verdict.CHECKPOINT,
    after: Position | None = None,
    every: bool = False,
) -> Campaign:
    """Freeze the executions of a part of the release as the draft of a campaign, and return it. Nothing is done yet.

    To resubmit, `target` is the release of the new executions: see `target_of`. The draft has the executions to which
    the check `after` this position gives this `verdict`, and the new ones start as it says. With `every`, it has all
    failed ones after the position; the campaign then checks each one, and skips those that cannot start so.

    A re-drive leaves out what another execution carries on, so that nothing runs twice.

    Raises `TenantNotAllowed`, `CampaignTargetInvalid`, and `CampaignEmpty` if there is no such execution.
    """
    if kind not in kinds_of(release, part):
        why = "The release is retired. " if kind in KINDS[part] else ""
        raise CampaignTargetInvalid(f"{why}A campaign cannot {kind} executions that are {part}.")
    if (kind == Kind.RESUBMIT) is (target is None):
        raise CampaignTargetInvalid("To resubmit, name a target release. Other campaigns have none.")
    if target is None and (after or every):
        raise CampaignTargetInvalid("Only a draft that resubmits follows a check. Leave out `after` and `every`.")
    if verdict is Verdict.NEITHER:
        raise CampaignTargetInvalid("These executions cannot start on the target release.")
    tenant, filters = release.pipeline.tenant, _filters(release)
    options = _options(kind)
    if target is not None:
        rows = unresolved(release, after) if every else _judged(release, target, verdict, after)
        options = _options(kind, target, StartFrom(verdict))
    elif kind == Kind.REDRIVE:
        rows = unresolved(release)
    else:
        rows = selected(tenant, kind, filters, allow_failed=True).filter(status__in=STATES[part])
    return drafts.freeze(tenant, kind, rows, actor=actor, filters=filters.to_json(), allow_failed=True, options=options)


def _judged(release: Release, target: Release, verdict: Verdict, after: Position | None) -> QuerySet[Execution]:
    keys = continuation(release, target, after).of(verdict).executions
    if not keys:
        raise CampaignEmpty("No failed execution has this verdict.")
    return chosen(release.pipeline.tenant, keys)


def _options(kind: Campaign.Kind, target: Release | None = None, start: StartFrom = StartFrom.INPUT) -> Options:
    if kind in (Kind.PAUSE, Kind.CANCEL):
        return Options(reason="", rate_per_minute=drafts.QUICK_RATE)
    return Options(
        reason="",
        rate_per_minute=drafts.USUAL_RATE,
        canary=CANARY,
        stop_after_failures=STOP_AFTER,
        target_release_version=target.release_version if target else None,
        start_from=start,
    )
