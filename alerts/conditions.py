"""What the rules look for: one function for each kind. Each statement has a time limit."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from alerts.kinds import Kind
from alerts.models import AlertRule, page_of
from executions.models import FailureGroup, Interaction, Schedule, Worker, WorkerEligibility, is_new
from executions.workers import eligibility as strandings
from executions.workers import message_path
from foundation.plurals import counted
from releases.models import ActivationRequest, GradualActivation, Pipeline, Release
from releases.states import RequestStatus
from releases.step_names import step_at

MOST_FOUND: Final = 20
"""The limit of findings of one rule. At the limit, others may exist, so no alert of the rule is resolved."""
RECENT: Final = timedelta(days=1)
STILL: Final = 80
"""An alert on a failure rate ends below this share of its threshold, in percent."""
_PIPELINE: Final = "pipeline:"
_BY_COORDINATOR = (
    GradualActivation.Cause.FAILURES,
    GradualActivation.Cause.DURATION,
    GradualActivation.Cause.REVOCATION,
)

# Finds the pipelines of whose executions at least %(percent)s percent failed, or %(still)s percent if an alert is
# firing. Reads the counts by minute from their index on the time. No row: too few failed, or too few ended.
FAILURE_RATES = """
SELECT p.id, p.pipeline_id, sum(c.failed)::bigint, sum(c.failed + c.succeeded)::bigint
FROM executions_finishedcount c JOIN releases_release r ON r.id = c.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE c.minute >= now() - make_interval(mins => %(minutes)s) AND p.tenant_id = %(tenant)s
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY p.id, p.pipeline_id
HAVING sum(c.failed + c.succeeded) >= %(minimum)s
    AND 100 * sum(c.failed) >= sum(c.failed + c.succeeded)
        * CASE WHEN p.id = ANY(%(firing)s::bigint[]) THEN %(still)s::numeric ELSE %(percent)s::numeric END
ORDER BY sum(c.failed) DESC, p.id LIMIT %(most)s
"""

# Finds the releases with due work that is late although a worker may run it, without paused work. Reads one execution
# of each release that has a worker, from the index on due executions. No row: no such work is late.
LATE = """
SELECT r.id, p.pipeline_id, r.release_version, due.next_due_at
FROM releases_pipeline p JOIN releases_release r ON r.pipeline_id = p.id
CROSS JOIN LATERAL (
    SELECT e.next_due_at FROM executions_execution e
    WHERE e.release_id = r.id AND e.status IN ('QUEUED', 'WAIT_RETRY') AND NOT e.held
    ORDER BY e.next_due_at LIMIT 1
) due
WHERE p.tenant_id = %(tenant)s AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
    AND due.next_due_at <= now() - make_interval(mins => %(minutes)s)
    AND EXISTS (SELECT FROM executions_workereligibility v WHERE v.release_id = r.id AND v.present AND v.reason IS NULL)
    AND NOT EXISTS (SELECT FROM executions_heldrelease h WHERE h.release_id = r.id)
ORDER BY due.next_due_at, r.id LIMIT %(most)s
"""

# Finds the steps with open questions whose deadline is near, and the release and the index of the first of these, which
# lead to the name. Reads all of the tenant's from the index on the deadline, because a limit would hide those of other
# steps; the time of the statement is limited. Timers and calls of pipelines need no answer, and the deadlines of paused
# executions move. No row: none is near.
NEAR_DEADLINES = """
SELECT p.id, p.pipeline_id, i.step_id, count(*), min(i.deadline),
    (array_agg(r.id ORDER BY i.deadline, i.id))[1], (array_agg(r.contract_version ORDER BY i.deadline, i.id))[1],
    (array_agg(i.step_index ORDER BY i.deadline, i.id))[1]
FROM executions_interaction i
JOIN executions_execution e ON e.id = i.execution_id JOIN releases_release r ON r.id = e.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE i.tenant_id = %(tenant)s AND i.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED')
    AND i.transport NOT IN ('timer', 'pipeline') AND i.deadline <= now() + make_interval(mins => %(minutes)s)
    AND NOT e.held AND e.release_id NOT IN (SELECT release_id FROM executions_heldrelease)
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY p.id, p.pipeline_id, i.step_id ORDER BY min(i.deadline), p.id, i.step_id LIMIT %(most)s
"""

# Finds the registered releases of the tenant with damaged or missing blobs. No row: all bytes are sound.
DAMAGED = """
SELECT r.id, p.pipeline_id, r.release_version, count(DISTINCT b.digest), min(b.digest)
FROM releases_blob b JOIN releases_artifact a ON a.blob_id = b.digest JOIN releases_release r ON r.id = a.release_id
JOIN releases_pipeline p ON p.id = r.pipeline_id
WHERE b.state IN ('DAMAGED', 'MISSING') AND r.status = 'REGISTERED' AND p.tenant_id = %(tenant)s
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s)
GROUP BY r.id, p.pipeline_id, r.release_version ORDER BY r.id DESC LIMIT %(most)s
"""

# Finds the schedules that had at least %(minimum)s times refused or missed within %(minutes)s minutes, those that
# failed last first, and the last of these times. Reads an index that has only such times; a backfill takes a time out
# of it. Schedules that are paused or removed do not count. No row: too few times failed.
FAILED_TIMES = """
SELECT s.id, s.name, p.pipeline_id, failed.count, failed.states, failed.codes, failed.newest
FROM executions_schedule s JOIN releases_pipeline p ON p.id = s.pipeline_id
CROSS JOIN LATERAL (
    SELECT count(*), array_agg(DISTINCT f.state ORDER BY f.state) AS states,
        array_agg(DISTINCT f.code ORDER BY f.code) AS codes, max(f.scheduled_at) AS newest
    FROM executions_schedulefire f
    WHERE f.schedule_id = s.id AND f.state IN ('REFUSED', 'MISSED')
        AND f.created_at >= now() - make_interval(mins => %(minutes)s)
) failed
WHERE s.tenant_id = %(tenant)s AND s.removed_at IS NULL AND s.paused_at IS NULL
    AND (%(pipeline)s::bigint IS NULL OR p.id = %(pipeline)s) AND failed.count >= %(minimum)s
ORDER BY failed.newest DESC, s.id LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a rule applies to. `subject` identifies it. `path` is its page in the admin.

    The texts contain names, codes and numbers, and no payloads.
    """

    subject: str
    title: str
    path: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """A rule, and the subjects of its firing alerts."""

    rule: AlertRule
    firing: Collection[str] = field(default_factory=frozenset)

    def of_pipeline(self, lookup: str) -> Q:
        """Return the condition for rows of the rule's pipeline, or of any. `lookup` leads to the pipeline's key."""
        return Q() if self.rule.pipeline_id is None else Q(**{lookup: self.rule.pipeline_id})

    def names(self, pipeline_id: str) -> bool:
        return self.rule.pipeline is None or self.rule.pipeline.pipeline_id == pipeline_id

    def rows(self, statement: str, **more: Any) -> list[tuple[Any, ...]]:
        shared = {"tenant": self.rule.tenant_id, "pipeline": self.rule.pipeline_id, "most": MOST_FOUND}
        with connection.cursor() as cursor:
            cursor.execute(statement, {**shared, **more})
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    @property
    def minutes(self) -> timedelta:
        return timedelta(minutes=self.rule.threshold("minutes"))


def new_groups(look: Look) -> list[Finding]:
    """Find the groups that failed within a day, and since the rule was made, and are not acknowledged."""
    groups = FailureGroup.objects.filter(
        is_new(),
        look.of_pipeline("release__pipeline"),
        tenant=look.rule.tenant_id,
        last_seen_at__gte=Now() - RECENT,
    ).filter(last_seen_at__gte=look.rule.created_at)
    newest = groups.select_related("release__pipeline").order_by("-last_seen_at", "-id")[:MOST_FOUND]
    return [
        Finding(
            f"group:{group.pk}",
            f"{group.release.pipeline.pipeline_id} fails with {group.error_code}",
            page_of(FailureGroup, group.pk),
            f"Release {group.release.release_version}, {group.step}. It is not acknowledged.",
        )
        for group in newest
    ]


def rates(look: Look) -> list[Finding]:
    """Find the pipelines of whose executions too many failed. An alert ends at four fifths of the threshold."""
    rule = look.rule
    minutes = rule.threshold("minutes")
    rows = look.rows(
        FAILURE_RATES,
        minutes=minutes,
        minimum=rule.threshold("minimum"),
        percent=rule.threshold("percent"),
        firing=[int(subject.removeprefix(_PIPELINE)) for subject in look.firing],
        still=rule.threshold("percent") * STILL / 100,
    )
    return [
        Finding(
            f"{_PIPELINE}{pk}",
            f"{100 * failed / ended:.0f} % of the executions of {name} fail",
            page_of(Pipeline, pk),
            f"{failed} of {ended} executions that ended within {minutes} minutes failed.",
        )
        for pk, name, failed, ended in rows
    ]


def stranded(look: Look) -> list[Finding]:
    """Find the releases whose due work has been stranded for the rule's minutes, those with most work first."""
    before = timezone.now() - look.minutes
    stranded = [
        release
        for release in strandings.stranded([look.rule.tenant_id])
        if release.since <= before and look.names(release.pipeline_id)
    ]
    return [
        Finding(
            f"release:{release.release_id}",
            f"No worker may run {counted(release.count, 'execution')} "
            f"of {release.pipeline_id} {release.release_version}",
            page_of(Release, release.release_id),
            f"Since {_utc(release.since)}: {release.explanation}. Start one: "
            f"{strandings.start_command(release.pipeline_id, release.release_version)}",
        )
        for release in stranded[:MOST_FOUND]
    ]


def near_deadlines(look: Look) -> list[Finding]:
    """Find the steps with open questions that reach their deadline within the rule's minutes."""
    minutes = look.rule.threshold("minutes")
    rows = look.rows(NEAR_DEADLINES, minutes=minutes)
    return [
        Finding(
            f"step:{pk}:{step_id}",
            f"{counted(count, 'open question')} of {step_at(*place).title} in {name} near the deadline",
            page_of(Interaction, pipeline=name),
            f"The first deadline is {_utc(deadline)}.",
        )
        for pk, name, step_id, count, deadline, *place in rows
    ]


def damaged(look: Look) -> list[Finding]:
    """Find the registered releases that pin bytes which are damaged or missing."""
    rows = look.rows(DAMAGED)
    return [
        Finding(
            f"release:{pk}",
            f"Artifacts of {name} {version} are damaged or missing",
            page_of(Release, pk),
            f"{count} of its digests, such as {digest}. New executions of the release are refused.",
        )
        for pk, name, version, count, digest in rows
    ]


def lost_workers(look: Look) -> list[Finding]:
    """Find the workers that have been silent for the rule's minutes, and for at most a day, and did not stop."""
    minutes = look.minutes
    rows = WorkerEligibility.objects.filter(
        worker__tenant=look.rule.tenant_id,
        worker__stopped_at=None,
        worker__alive_until__lte=Now() - minutes,
        worker__alive_until__gte=Now() - minutes - RECENT,
        state=WorkerEligibility.State.STALE,
    )
    if look.rule.pipeline is not None:
        rows = rows.filter(worker__pipeline_id=look.rule.pipeline.pipeline_id)
    refused = rows.select_related("worker").order_by("-worker__alive_until", "worker")[:MOST_FOUND]
    return [
        Finding(
            f"worker:{refusal.worker.pk}",
            f"Worker {refusal.worker.worker_id} of {refusal.worker.pipeline_id} is silent",
            page_of(Worker, refusal.worker.pk),
            f"Its last heartbeat was at {_utc(refusal.worker.last_heartbeat_at)}.",
        )
        for refusal in refused
    ]


def wanted(look: Look) -> list[Finding]:
    """Find the requests that have been open for the rule's minutes."""
    rows = ActivationRequest.objects.filter(
        look.of_pipeline("pipeline"),
        pipeline__tenant=look.rule.tenant_id,
        status=RequestStatus.OPEN.value,
        created_at__lte=Now() - look.minutes,
        expires_at__gt=Now(),
    )
    expiring = rows.select_related("release__pipeline").order_by("expires_at", "pk")[:MOST_FOUND]
    return [
        Finding(
            f"request:{request.pk}",
            f"The activation of {request.release.pipeline.pipeline_id} {request.release.release_version} wants votes",
            page_of(ActivationRequest, request.pk),
            f"{request.actor} asked for it. Votes are accepted until {_utc(request.expires_at)}.",
        )
        for request in expiring
    ]


def withdrawn(look: Look) -> list[Finding]:
    """Find the candidates that were withdrawn within a day by no person, if no gradual activation followed."""
    later = GradualActivation.objects.filter(pipeline=OuterRef("pipeline"), started_at__gt=OuterRef("started_at"))
    rows = GradualActivation.objects.filter(
        look.of_pipeline("pipeline"),
        ~Exists(later),
        pipeline__tenant=look.rule.tenant_id,
        status=GradualActivation.Status.WITHDRAWN,
        cause__in=_BY_COORDINATOR,
        ended_at__gte=Now() - RECENT,
    )
    withdrawn = rows.select_related("candidate", "pipeline").order_by("-ended_at", "pk")[:MOST_FOUND]
    return [
        Finding(
            f"gradual:{gradual.pk}",
            f"The candidate {gradual.candidate.release_version} of {gradual.pipeline.pipeline_id} was withdrawn",
            page_of(Pipeline, gradual.pipeline_id),
            gradual.end_reason or "",
        )
        for gradual in withdrawn
    ]


def late(look: Look) -> list[Finding]:
    """Find planned activations that did not happen, and due work that waits although a worker may run it."""
    return [*_late_activations(look), *_late_work(look)][:MOST_FOUND]


def _late_activations(look: Look) -> list[Finding]:
    minutes = look.minutes
    waits = Q(status=RequestStatus.APPROVED.value, activate_at__lte=Now() - minutes)
    failed = Q(status=RequestStatus.FAILED.value, activate_at__lte=F("status_changed_at"))
    rows = ActivationRequest.objects.filter(
        waits | failed & Q(status_changed_at__gte=Now() - RECENT),
        look.of_pipeline("pipeline"),
        pipeline__tenant=look.rule.tenant_id,
    )
    failing = rows.select_related("release__pipeline").order_by("activate_at", "pk")[:MOST_FOUND]
    return [
        Finding(
            f"request:{request.pk}",
            f"The planned activation of {request.release.pipeline.pipeline_id} {request.release.release_version} "
            + ("failed" if request.status == RequestStatus.FAILED else "is late"),
            page_of(ActivationRequest, request.pk),
            f"It was planned for {request.activate_at:%Y-%m-%d %H:%M:%S} UTC. {request.detail}".strip(),
        )
        for request in failing
    ]


def _late_work(look: Look) -> list[Finding]:
    rows = look.rows(LATE, minutes=look.rule.threshold("minutes"))
    delay = message_path.outcome_delay() if rows else 0
    why = f" Outcomes are read {delay:.0f} seconds late, so nothing is sent to workers." if delay else ""
    return [
        Finding(
            f"due:{pk}",
            f"Due executions of {name} {version} do not start",
            page_of(Release, pk),
            f"The oldest has been due since {_utc(due)}, and a worker is alive.{why}",
        )
        for pk, name, version, due in rows
    ]


def failed_schedules(look: Look) -> list[Finding]:
    """Find the schedules whose times were refused or missed too often, without a backfill since."""
    minutes, minimum = (look.rule.threshold(name) for name in ("minutes", "minimum"))
    return [
        Finding(
            f"schedule:{pk}",
            f"Times of the schedule {name} of {pipeline_id} were {' or '.join(map(str.lower, reversed(states)))}",
            page_of(Schedule, pk),
            f"{count} within {minutes} minutes: {', '.join(codes)}. The last one was {_utc(newest)}.",
        )
        for pk, name, pipeline_id, count, states, codes, newest in look.rows(
            FAILED_TIMES, minutes=minutes, minimum=minimum
        )
    ]


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


CONDITIONS: Final[Mapping[Kind, Callable[[Look], list[Finding]]]] = {
    Kind.NEW_FAILURE_GROUP: new_groups,
    Kind.FAILURE_RATE: rates,
    Kind.STRANDED: stranded,
    Kind.AWAIT_DEADLINE: near_deadlines,
    Kind.BLOB_DAMAGED: damaged,
    Kind.WORKER_LOST: lost_workers,
    Kind.APPROVAL_WANTED: wanted,
    Kind.GRADUAL_WITHDRAWN: withdrawn,
    Kind.SCHEDULE_MISSED: late,
    Kind.SCHEDULE_FAILED: failed_schedules,
}
