"""Who did what about a bad release, when, and with which result: the entries of the audit log since it first got new
executions."""

import json
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Q

from executions.models import Campaign, Execution, FailureGroup
from governance.campaigns.admitting import Results, results
from governance.campaigns.campaigns import Progress, progress
from releases.models import Activation, Release
from tenancy.audit import chain
from tenancy.audit.acts import Act
from tenancy.audit.people import Acted, people_behind
from tenancy.models import AuditEntry

MOST_READ: Final = 1000
"""How many entries of each kind are read: the newest ones."""
ITEMS_READ: Final = 100
"""A campaign belongs to the record if its draft selected by the release, or an execution of the release is among this
many of its items."""
RESULTS_READ: Final = 20
"""How many campaigns have a result in the record: the newest ones. The pages of the others have theirs."""
OF_EXECUTIONS: Final = (
    Act.EXECUTION_CANCEL,
    Act.EXECUTION_PAUSE,
    Act.EXECUTION_REDRIVE,
    Act.EXECUTION_RESUBMIT,
    Act.EXECUTION_RESUME,
)
OF_CAMPAIGNS: Final = (
    Act.CAMPAIGN_CANCEL,
    Act.CAMPAIGN_DISCARD,
    Act.CAMPAIGN_DRAFT,
    Act.CAMPAIGN_PAUSE,
    Act.CAMPAIGN_RESUME,
    Act.CAMPAIGN_START,
)
OF_PIPELINES: Final = (
    *(act for act in Act if act.startswith(("activation_request.", "gradual_activation."))),
    Act.PIPELINE_PAUSE,
    Act.PIPELINE_RESUME,
    Act.POLICY_CHANGE,
    Act.RELEASE_ACTIVATE,
    Act.RELEASE_PAUSE,
    Act.RELEASE_RESUME,
    Act.RELEASE_RETIRE,
    Act.RELEASE_REVOKE,
)
COLUMNS: Final = ("sequence", "at", "actor", "person", "act", "object", "reason", "details", "result")

# Returns those of the campaigns that have an execution of the release among their first items.
_CAMPAIGNS = """
SELECT c.id::text FROM executions_campaign c WHERE c.id = ANY(%(ids)s::uuid[]) AND EXISTS (
    SELECT FROM (SELECT i.execution_id FROM executions_campaignitem i WHERE i.campaign_id = c.id
        ORDER BY i.id LIMIT %(most)s) f
    JOIN executions_execution e ON e.id = f.execution_id WHERE e.release_id = %(release)s
)
"""


@dataclass(frozen=True, slots=True)
class CampaignResult:
    """What a campaign has done to its executions, and the outcome of those that it ran again."""

    status: Campaign.Status
    progress: Progress
    results: Results

    @property
    def counts(self) -> list[tuple[str, int]]:
        """The counts that are not 0, by what they count."""
        named = [
            ("pending", self.progress.pending),
            ("re-driven", self.progress.redriven),
            ("resubmitted", self.progress.resubmitted),
            ("cancelled", self.progress.cancelled),
            ("paused", self.progress.paused),
            ("skipped", self.progress.skipped),
            ("run again and running", self.results.running),
            ("run again and waiting", self.results.waiting),
            ("run again and succeeded", self.results.succeeded),
            ("run again and failed", self.results.failed_again),
            ("run again and cancelled", self.results.cancelled),
            ("run again and removed", self.results.removed),
        ]
        return [(name, count) for name, count in named if count]

    def __str__(self) -> str:
        return ", ".join([self.status, *(f"{count} {name}" for name, count in self.counts)])


@dataclass(frozen=True, slots=True)
class Record:
    """The entries, oldest first, from `since` on. If it is not complete, older ones were left out.

    `campaigns` are the ids of those that were not removed. `results` has those of the newest campaigns, by the number
    of the last entry that drafted or started the campaign. `people` are the users who stand behind the actors.
    """

    since: datetime
    entries: list[AuditEntry]
    campaigns: frozenset[str]
    results: dict[int, CampaignResult]
    people: Mapping[Acted, str | None]
    is_complete: bool

    def person(self, entry: AuditEntry) -> str | None:
        """Return the name of the user who stands behind the actor of an entry; None if unknown."""
        return self.people[entry.actor, entry.at]

    def rows(self) -> list[dict[str, Any]]:
        """Return the entries as an export has them."""
        return [
            {name: getattr(entry, name, None) for name in COLUMNS}
            | {"at": entry.at.isoformat(), "person": self.person(entry)}
            | {"result": str(self.results.get(entry.sequence, ""))}
            for entry in self.entries
        ]


def record(release: Release) -> Record:
    """Return who did what since the release first got new executions: activations, requests and pauses of its
    pipeline, and what was done with the executions and the failure groups of the release.

    Only acts that were granted. Reads a bounded number of entries.
    """
    since = _since(release)
    entries = AuditEntry.objects.filter(
        tenant=release.pipeline.tenant, at__gte=since, outcome=AuditEntry.Outcome.GRANTED
    )
    of_pipeline = _newest(chain.about(entries.filter(act__in=OF_PIPELINES), release.pipeline.pipeline_id))
    of_executions = _newest(entries.filter(act__in=OF_EXECUTIONS))
    of_campaigns = _newest(entries.filter(act__in=OF_CAMPAIGNS))
    of_groups = _newest(entries.filter(act=Act.FAILURE_GROUP_CHANGE))
    campaigns = _about(of_campaigns, _campaigns(release, of_campaigns))
    involved = [
        *of_pipeline,
        *_about(of_executions, _of_release(Execution, release, of_executions)),
        *campaigns,
        *_about(of_groups, _of_release(FailureGroup, release, of_groups)),
    ]
    is_complete = all(len(rows) < MOST_READ for rows in (of_pipeline, of_executions, of_campaigns, of_groups))
    kept = dict(Campaign.objects.filter(pk__in={entry.object for entry in campaigns}).values_list("pk", "status"))
    return Record(
        since,
        sorted(involved, key=lambda entry: entry.sequence),
        frozenset(map(str, kept)),
        _results(campaigns, kept),
        people_behind(release.pipeline.tenant, ((entry.actor, entry.at) for entry in involved)),
        is_complete,
    )


def _since(release: Release) -> datetime:
    rows = Activation.objects.filter(pipeline=release.pipeline_id)
    first = rows.filter(Q(release=release) | Q(candidate=release)).order_by("sequence").first()
    return first.activated_at if first else release.created_at


def _newest(rows: Any) -> list[AuditEntry]:
    return list(rows.order_by("-sequence")[:MOST_READ])


def _about(entries: list[AuditEntry], objects: Collection[str]) -> list[AuditEntry]:
    return [entry for entry in entries if entry.object in objects]


def _of_release(model: Any, release: Release, entries: list[AuditEntry]) -> set[str]:
    keys = {entry.object for entry in entries}
    kept = model.objects.filter(release=release, pk__in=keys).order_by().values_list("pk", flat=True)
    return {str(key) for key in kept} if keys else set()


def _results(entries: list[AuditEntry], statuses: Mapping[uuid.UUID, str]) -> dict[int, CampaignResult]:
    """Return the results of the newest of the campaigns with these statuses. The entries are the newest first."""
    last: dict[uuid.UUID, int] = {}
    for entry in entries:
        if entry.act in (Act.CAMPAIGN_DRAFT, Act.CAMPAIGN_START) and uuid.UUID(entry.object) in statuses:
            last.setdefault(uuid.UUID(entry.object), entry.sequence)
    newest = list(last)[:RESULTS_READ]
    done, became = progress(newest), results(newest)
    return {last[key]: CampaignResult(Campaign.Status(statuses[key]), done[key], became[key]) for key in newest}


def _campaigns(release: Release, entries: list[AuditEntry]) -> set[str]:
    """Return the keys of the campaigns of the release, also of drafts that were removed."""
    return _by_filters(release, entries) | _by_items(release, entries)


def _by_filters(release: Release, entries: list[AuditEntry]) -> set[str]:
    pin = (release.pipeline.pipeline_id, release.release_version)
    drafted = [entry for entry in entries if entry.act == Act.CAMPAIGN_DRAFT]
    filters = {entry.object: json.loads(entry.details).get("filters") or {} for entry in drafted}
    return {key for key, chosen in filters.items() if (chosen.get("pipelineId"), chosen.get("releaseVersion")) == pin}


def _by_items(release: Release, entries: list[AuditEntry]) -> set[str]:
    parameters: dict[str, Any] = {
        "ids": sorted({entry.object for entry in entries}),
        "most": ITEMS_READ,
        "release": release.pk,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CAMPAIGNS, parameters)
        return {key for (key,) in cursor.fetchall()}
