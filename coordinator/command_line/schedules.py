"""`coordinator schedules`: executions at the times of a cron expression."""

from typing import Final

from coordinator.command_line.commands import Call, Noun
from coordinator.command_line.session import Session
from coordinator_client.api import Request

SCHEDULE: Final = "schedules/{schedule_id}"
schedules = Noun("schedules", "Submit executions at the times of a cron expression.")
schedules.listing(
    "list",
    "GET schedules",
    "SCHEDULE scheduleId, NAME name, PIPELINE pipelineId, CRON cron, TIME ZONE timeZone, NEXT nextAt, PAUSED pausedAt, "
    "OVERLAP overlap",
    "List the schedules, newest first.",
)
schedules.showing("show", f"GET {SCHEDULE}", "Show a schedule with its next times.")
schedules.listing(
    "fires",
    f"GET {SCHEDULE}/fires",
    "TIME scheduledAt, STATE state, EXECUTION executionId, BACKFILL backfill, CODE code, DETAIL detail",
    "List the times at which a schedule fired, latest first.",
)
schedules.acting(
    "add",
    "POST schedules",
    "Add a schedule of a pipeline.",
    "Add the schedule {name} of {pipeline}?",
    arguments=["name", "pipelineId", "cron"],
)
schedules.acting("change", f"PATCH {SCHEDULE}", "Change a schedule.", "Change the schedule {schedule}?")
schedules.acting("pause", f"POST {SCHEDULE}/pause", "Let a schedule fire no more.")
schedules.acting("resume", f"POST {SCHEDULE}/resume", "Let a schedule fire again.", "Resume the schedule {schedule}?")
schedules.acting("remove", f"POST {SCHEDULE}/remove", "Remove a schedule.", "Remove the schedule {schedule}?")


@schedules.changing("backfill", f"POST {SCHEDULE}/backfill", omitted=["preview"])
def backfill(session: Session, call: Call) -> None:
    """Let a schedule fire for the times of a past range. With --dry-run, count them."""
    body = {**call.request.body, "preview": True}
    counted = session.client.call(Request("POST", call.request.path, body=body))
    if session.dry_run:
        session.output.document(counted)
        return
    session.act(call.request, "Submit executions for the times of this range?", details=counted)
