"""The metrics of executions. They count what is committed, in the process that did it."""

from typing import Final

from foundation.telemetry.metrics import SIZES, Counter, Histogram

RELEASE: Final = ("tenant", "pipeline", "release")

submitted = Counter(
    "coordinator_executions_submitted_total", "Executions that were accepted; repeated keys do not count.", RELEASE
)
submission_groups = Histogram(
    "coordinator_submission_group_size", "Executions that one commit accepted.", buckets=SIZES
)
dispatched = Counter(
    "coordinator_transitions_dispatched_total", "Transitions that were sent to a transport of their workers.", RELEASE
)
refused = Counter("coordinator_dispatches_refused_total", "Claims that went back because the broker refused them.")
dispatch_groups = Histogram("coordinator_dispatch_group_size", "Executions that one claim took.", buckets=SIZES)
schedule_to_start = Histogram(
    "coordinator_schedule_to_start_seconds", "From when an execution was due until a claim took it.", RELEASE
)
outcomes = Counter(
    "coordinator_outcomes_recorded_total",
    "Outcomes of transitions by the state that they led to, such as SUCCEEDED or WAIT_RETRY.",
    (*RELEASE, "outcome"),
)
outcome_groups = Histogram("coordinator_outcome_group_size", "Outcomes that one transaction recorded.", buckets=SIZES)
outcomes_dropped = Counter(
    "coordinator_outcomes_dropped_total", "Outcomes that were dropped because their lease was lost.", RELEASE
)
run_time = Histogram(
    "coordinator_transition_run_seconds", "Run time of transitions, as their workers measured it.", RELEASE
)
finished = Counter(
    "coordinator_executions_finished_total",
    "Executions that ended, by their state. One that is re-driven may end again.",
    (*RELEASE, "outcome"),
)
retries = Counter("coordinator_retries_scheduled_total", "Transitions that failed and are tried again.", RELEASE)
dead_letters = Counter("coordinator_dead_letters_total", "Terminal failures by their reason.", (*RELEASE, "reason"))
leases_lost = Counter(
    "coordinator_leases_lost_total",
    "Leases that ended without an outcome: mostly, their workers died or hang.",
    RELEASE,
)
heartbeats = Counter("coordinator_heartbeats_total", "Heartbeats of transition workers that were accepted.", RELEASE)
messages_refused = Counter(
    "coordinator_worker_messages_refused_total", "Messages of workers that were refused, by the code.", ("code",)
)
unknown_members = Counter(
    "coordinator_unknown_members_total",
    "Members of messages of REST workers that this version does not know, by the message.",
    ("message",),
)
webhooks = Counter(
    "coordinator_webhooks_total", "Attempts to send webhooks of interactions, by their result.", ("tenant", "result")
)
