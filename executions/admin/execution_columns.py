"""The columns of the list of executions."""

from datetime import timedelta
from typing import ClassVar

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from executions.admin.filters import STATE_VARIANTS
from executions.models import TERMINAL_VALUES, Execution
from executions.search import columns
from foundation.admin.columns import badge, column, copyable
from foundation.admin.times import timed

HEAD = 23
"""How many characters of an id are hidden from view: those that it shares with ids of about the same time."""


class ExecutionColumns:
    """One method for each column, named as in METHODS."""

    METHODS: ClassVar = {
        "id": "identifier",
        "key": "key",
        "status": "state",
        "pipeline": "pipeline",
        "release": "release_name",
        "error": "error",
        "step": "step",
        "duration": "duration",
        "submitted": "submitted",
        "finished": "finished",
        "attempts": "retries",
        "tags": "tag_list",
        "by": "by",
        "smoke": "smoke_test",
        "tenant": "tenant",
    }

    @column("Select")
    def select(self, execution: Execution) -> SafeString:
        return format_html(
            '<input type="checkbox" name="execution" value="{0}" aria-label="Select {0}" class="dc-select">',
            execution.pk,
        )

    @column("Execution")
    def identifier(self, execution: Execution) -> SafeString:
        text = str(execution.pk)
        link = format_html(
            '<a class="dc-link dc-mono dc-id" href="{}" title="{}"><span>{}</span>{}</a>',
            execution.address,  # type: ignore[attr-defined]  # the list sets it
            text,
            text[:HEAD],
            text[HEAD:],
        )
        return copyable(link, f"Copy the id {text}")

    @column("Key")
    def key(self, execution: Execution) -> SafeString:
        key = execution.execution_key
        return copyable(format_html("<span>{}</span>", key), f"Copy the key {key}")

    @column("Pipeline")
    def pipeline(self, execution: Execution) -> str:
        return execution.pipeline_id

    @column("Release")
    def release_name(self, execution: Execution) -> str:
        return execution.release_version

    @column("Submitted by")
    def by(self, execution: Execution) -> str:
        return execution.submitted_by

    @badge("Status", STATE_VARIANTS)
    def state(self, execution: Execution) -> str:
        return execution.shown_status

    @badge("Kind", {"smoke test": "info"}, empty="")
    def smoke_test(self, execution: Execution) -> str | None:
        return "smoke test" if execution.smoke else None

    @column("Error", empty="-")
    def error(self, execution: Execution) -> SafeString | None:
        if execution.error_code is None:
            return None
        message = execution.message  # type: ignore[attr-defined]  # the list sets it; empty if it may not be read
        return format_html('<span title="{}">{}</span>', message, execution.error_code)

    @column("Step", empty="-")
    def step(self, execution: Execution) -> int | None:
        return columns.step(execution)

    @column("Duration")
    def duration(self, execution: Execution) -> str:
        if execution.status in TERMINAL_VALUES:
            return spelled(execution.finished_at - execution.created_at)  # type: ignore[operator]  # it has ended
        return f"{spelled(timezone.now() - execution.created_at)} so far"

    @column("Submitted")
    def submitted(self, execution: Execution) -> SafeString | None:
        return timed(execution.created_at)

    @column("Finished", empty="-")
    def finished(self, execution: Execution) -> SafeString | None:
        return timed(execution.finished_at)

    @column("Retries")
    def retries(self, execution: Execution) -> int:
        return execution.attempt

    @column("Tags", empty="-")
    def tag_list(self, execution: Execution) -> SafeString | None:
        tags = ((tag,) for tag in execution.tags or ())
        return format_html_join(" ", '<span class="dc-tag">{}</span>', tags) or None


def spelled(length: timedelta) -> str:
    """Return a duration in its two largest units: "850 ms", "12.3 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    seconds = max(length.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{int(seconds * 10) / 10:g} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"
