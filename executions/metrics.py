"""The metrics and the log lines of executions. They tell what is committed, in the process that did it.

Lines are about executions that take their course: accepted, claimed, recorded, cancelled. Work that is done for a group
of executions of one release is one line, with the ids of all, because a line takes about as long as a small query.
Failures have separate lines.
"""

import logging
import uuid
from collections.abc import Iterable
from typing import Final

from django.conf import settings

from foundation.telemetry.metrics import SIZES, Counter, Histogram

RELEASE: Final = ("tenant", "pipeline", "release")

submitted = Counter(
    "coordinator_executions_submitted_total", "Executions that were accepted; repeated keys do not count.", RELEASE
)
submission_groups = Histogram(
    "coordinator_submission_group_size", "Executions that one commit accepted.", buckets=SIZES
)
dispatched = Counter(
    "coordinator_transitions_dispatched_total", "Attempts that were sent to a transport of their workers.", RELEASE
)
refused = Counter("coordinator_dispatches_refused_total", "Claims that went back because the broker refused them.")
dispatch_groups = Histogram("coordinator_dispatch_group_size", "Executions that one claim took.", buckets=SIZES)
schedule_to_start = Histogram(
    "coordinator_schedule_to_start_seconds", "From when an execution was due until a claim took it.", RELEASE
)
outcomes = Counter(
    "coordinator_outcomes_recorded_total",
    "Outcomes of attempts by the state that they led to, such as SUCCEEDED or WAIT_RETRY.",
    (*RELEASE, "outcome"),
)
outcome_groups = Histogram("coordinator_outcome_group_size", "Outcomes that one transaction recorded.", buckets=SIZES)
outcomes_dropped = Counter(
    "coordinator_outcomes_dropped_total", "Outcomes that were dropped because their lease was lost.", RELEASE
)
run_time = Histogram(
    "coordinator_transition_run_seconds", "Run time of attempts, as their workers measured it.", RELEASE
)
finished = Counter(
    "coordinator_executions_finished_total",
    "Executions that ended, by their state. One that is re-driven may end again.",
    (*RELEASE, "outcome"),
)
retries = Counter("coordinator_retries_scheduled_total", "Attempts that failed and are tried again.", RELEASE)
dead_letters = Counter("coordinator_dead_letters_total", "Terminal failures by their reason.", (*RELEASE, "reason"))
leases_lost = Counter(
    "coordinator_leases_lost_total",
    "Leases that ended without an outcome: mostly, their workers died or hang.",
    RELEASE,
)
heartbeats = Counter("coordinator_heartbeats_total", "Heartbeats of workers that were accepted.", RELEASE)
messages_refused = Counter(
    "coordinator_worker_messages_refused_total", "Messages of workers that were refused, by the code.", ("code",)
)
unknown_members = Counter(
    "coordinator_unknown_members_total",
    "Members of messages of REST workers that this version does not know, by the message.",
    ("message",),
)
webhooks = Counter(
    "coordinator_webhooks_total", "Attempts to send webhooks of questions, by their result.", ("tenant", "result")
)


log = logging.getLogger("executions.life_lines")
MOST_IDS: Final = 100
"""How many ids a line has at most: some receivers of logs cut lines of more than 4 kB."""

Pin = tuple[str, str, str]
"""A tenant, a pipeline and a release version."""


def write_lines(event: str, executions: Iterable[tuple[Pin, uuid.UUID]]) -> None:
    """Write a line about `event` for each release, or several for many executions. Call this after the commit."""
    if not (settings.LOG_EXECUTIONS and log.isEnabledFor(logging.INFO)):
        return
    ids: dict[Pin, list[uuid.UUID]] = {}
    for pin, execution in executions:
        ids.setdefault(pin, []).append(execution)
    for (tenant, pipeline, release), accepted in ids.items():
        fields = {"tenant": tenant, "pipeline": pipeline, "release": release}
        for start in range(0, len(accepted), MOST_IDS):
            part = accepted[start : start + MOST_IDS]
            name = "execution" if len(part) == 1 else "executions"
            extra = {**fields, name: ",".join(map(str, part))}
            # `log.info` would search the stack for its caller, which no line shows.
            log.handle(log.makeRecord(log.name, logging.INFO, "", 0, event, (), None, extra=extra))
