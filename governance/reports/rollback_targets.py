"""Answers which releases a pipeline can return to, and how each did while it was active. Changes nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from executions import statistics
from executions.statistics import Totals
from executions.workers.eligibility import Hosts, hosts_by_release
from foundation import spans
from foundation.errors import CoordinatorError
from foundation.plurals import counted
from governance.activation import activation, gates
from governance.activation.gates import Gate, Switch, Verdict
from governance.reports import comparison
from releases import queries
from releases.errors import ReleaseUnknown
from releases.models import SWITCHES, Activation, Kind, Pipeline, Release
from releases.pointer import require_registered
from releases.trust import trust
from wire.comparison.comparison import compare
from wire.comparison.differences import Difference, Impact

MOST_TARGETS: Final = 8
MOST_SWITCHES: Final = 100


@dataclass(frozen=True, slots=True)
class Period:
    """When a release was active: most recently from `since` to `until`, and `total` all together.

    `replaced_by` is the newest activation that replaced it, or None while it is active.
    """

    since: datetime
    until: datetime
    total: timedelta
    replaced_by: Activation | None

    @property
    def total_seconds(self) -> float:
        return self.total.total_seconds()

    @property
    def lasted(self) -> str:
        return spans.lasting(self.total)

    @property
    def rolled_back(self) -> Activation | None:
        """The rollback that replaced the release, if one did."""
        return self.replaced_by if self.replaced_by and self.replaced_by.kind == Kind.ROLLBACK else None


@dataclass(frozen=True, slots=True)
class RollbackTarget:
    """A release that was active before.

    `totals` are its executions that finished in the last `statistics.KEPT_DAYS`. `refusals` are the errors that a
    rollback to it would raise now. `warnings` do not prevent the rollback. `differences` are those from the active
    release.
    """

    release: Release
    period: Period
    totals: Totals
    hosts: Hosts
    gates: list[Gate]
    differences: tuple[Difference, ...]
    refusals: list[CoordinatorError]
    warnings: list[str]

    @property
    def is_allowed(self) -> bool:
        return not self.refusals

    @property
    def is_good(self) -> bool:
        return not self.refusals and not self.warnings

    @property
    def is_breaking(self) -> bool:
        """True if clients that work today would fail."""
        return any(difference.impact is Impact.BREAKING_FOR_CALLERS for difference in self.differences)


@dataclass(frozen=True, slots=True)
class Rollback:
    """The release that a rollback replaces, with its period and its totals, and the targets, newest first.

    `active` is None if no release is active. `more` is True if there are older targets.
    """

    active: Release | None
    period: Period | None
    totals: Totals | None
    targets: list[RollbackTarget]
    more: bool

    @property
    def proposed(self) -> RollbackTarget | None:
        """The newest target that nothing refuses and nothing warns about."""
        return next((target for target in self.targets if target.is_good), None)


def rollback(
    pipeline: Pipeline, *, recent_only: bool, named: str | None = None, most_switches: int = MOST_SWITCHES
) -> Rollback:
    """Return the releases that were active before, at most MOST_TARGETS, and the one that is `named` in addition.

    `pipeline` is as `queries.pipeline` returns it. With `recent_only`, a release that was not active within the
    pipeline's `rollback_days` has a refusal. Reads the newest `most_switches` changes of the active release.
    Makes a fixed number of queries, and some for each gate of the policy.
    """
    periods = _periods(list(_switches(pipeline).order_by("-sequence")[:most_switches])[::-1])
    active = pipeline.active_release
    former = sorted((key for key in periods if active is None or key != active.pk), key=lambda key: periods[key].until)
    former.reverse()
    shown = former[:MOST_TARGETS]
    releases = _releases(pipeline, shown)
    if named is not None and named not in {release.release_version for release in (active, *releases) if release}:
        releases += _older(pipeline, named, periods)
    totals = statistics.finished([release.pk for release in (active, *releases) if release is not None])
    return Rollback(
        active=active,
        period=periods.get(active.pk) if active else None,
        totals=totals[active.pk] if active else None,
        targets=_targets(pipeline, releases, periods, totals, recent_only=recent_only),
        more=len(former) > len(shown),
    )


def _switches(pipeline: Pipeline) -> QuerySet[Activation]:
    """Return the changes of the active release."""
    rows = Activation.objects.filter(pipeline=pipeline, kind__in=SWITCHES)
    return rows.only("release_id", "kind", "actor", "reason", "activated_at")


def _periods(switches: Sequence[Activation]) -> dict[int, Period]:
    """Return when each release was active, by its key, as these changes say. The oldest comes first."""
    now, periods = timezone.now(), dict[int, Period]()
    for switch, following in zip_longest(switches, switches[1:]):
        until = following.activated_at if following else now
        known = periods.get(switch.release_id)
        # An activation of the active release continues its period.
        continues = known is not None and known.replaced_by is switch
        periods[switch.release_id] = Period(
            since=known.since if known and continues else switch.activated_at,
            until=until,
            total=(known.total if known else timedelta()) + (until - switch.activated_at),
            replaced_by=following,
        )
    return periods


def _older(pipeline: Pipeline, version: str, periods: dict[int, Period]) -> list[Release]:
    """Return the release with this version if it was active before, and add its newest period to `periods`."""
    try:
        release = comparison.named_release(pipeline, version)
    except ReleaseUnknown:
        return []
    if release.pk not in periods:
        last = _switches(pipeline).filter(release=release).order_by("-sequence").only("sequence").first()
        if last is None:
            return []
        both = _switches(pipeline).filter(sequence__gte=last.sequence).order_by("sequence")[:2]
        periods[release.pk] = _periods(list(both))[release.pk]
    release.pipeline = pipeline
    return [release]


def _releases(pipeline: Pipeline, keys: Sequence[int]) -> list[Release]:
    """Return the releases with these keys, in their order. Each refers to `pipeline`."""
    rows = Release.objects.select_related("contract").in_bulk(keys)
    for release in rows.values():
        release.pipeline = pipeline
    return [rows[key] for key in keys]


def _targets(
    pipeline: Pipeline,
    releases: list[Release],
    periods: dict[int, Period],
    totals: dict[int, Totals],
    *,
    recent_only: bool,
) -> list[RollbackTarget]:
    active, keys = pipeline.active_release, [release.pk for release in releases]
    compared = [*releases, active] if active else releases
    signers = trust.signers_by_release(compared)
    described = comparison.facts_of(*compared, signers=signers)
    damaged = set(queries.with_unsound_artifacts(Release.objects.filter(pk__in=keys)).values_list("pk", flat=True))
    hosts, recent_since = hosts_by_release(keys), timezone.now() - timedelta(days=pipeline.rollback_days)
    switches = [
        Switch(release, pipeline, Kind.ROLLBACK, signers=signers, was_active=periods[release.pk].until >= recent_since)
        for release in releases
    ]
    targets = []
    for switch, fact in zip(gates.with_reads(switches), described, strict=False):
        release, judged = switch.release, gates.judge(switch)
        target = RollbackTarget(
            release=release,
            period=periods[release.pk],
            totals=totals[release.pk],
            hosts=hosts[release.pk],
            gates=judged,
            differences=compare(described[-1], fact) if active else (),
            refusals=[
                *_unfit(release),
                *([activation.too_far(pipeline, release)] if recent_only and not switch.was_active else ()),
                *(gate.refusal for gate in judged if gate.refusal is not None),
            ],
            warnings=[],
        )
        targets.append(replace(target, warnings=list(_warnings(target, is_damaged=release.pk in damaged))))
    return targets


def _unfit(release: Release) -> list[CoordinatorError]:
    try:
        require_registered(release)
    except CoordinatorError as refusal:
        return [refusal]
    return []


def _warnings(target: RollbackTarget, *, is_damaged: bool) -> Iterable[str]:
    totals = target.totals
    if totals.fails_often:
        share = f"{totals.failed:,} of {counted(totals.ended, 'execution')} ({totals.failure_rate:.0f} %)"
        yield f"It failed often: {share}."
    if rolled_back := target.period.rolled_back:
        yield f"It was rolled back by {rolled_back.actor}: “{rolled_back.reason}”"
    if is_damaged:
        yield "An artifact of it was damaged or missing when it was last checked. The rollback checks it again."
    if target.is_breaking:
        yield "It is breaking for callers: clients that work today will fail."
    judged = {gate.name for gate in target.gates if gate.verdict is not Verdict.MET}
    yield from (gate.detail for gate in target.gates if gate.verdict is Verdict.WARNING)
    # A gate that is not met has said it already.
    yield from target.hosts.warnings if gates.WORKER not in judged else ()
