"""Executions in many states, written with raw SQL, and a model in Python of what a search finds among them."""

import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from executions.models import DeadLetter, Execution
from executions.search.conditions import Search
from tests import making
from tests.raw_sql import as_owner, check_foreign_keys_now, unguarded

START = datetime(2027, 1, 1, tzinfo=UTC)
"""When the first was submitted, which is after the registration of their releases."""
FAILED = ("FAILED", "DLQ")
OVER = ("SUCCEEDED", "CANCELLED", *FAILED)
LEASE = {
    "lease_owner": "dispatcher",
    "lease_protocol": "celery",
    "lease_token": str(uuid.UUID(int=1)),
    "lease_expires_at": "2026-01-02T00:00:00Z",
}
STATES: tuple[dict[str, Any], ...] = (
    {"status": "QUEUED"},
    {"status": "RUNNING", **LEASE},
    {"status": "RUNNING", **LEASE, "running_since": "2026-01-02T00:00:00Z"},
    {"status": "WAIT_RETRY", "error_code": "NO_FUNDS", "error_message": "m"},
    {"status": "SUCCEEDED", "result": [1]},
    {"status": "CANCELLED"},
    {"status": "FAILED", "error_code": "NO_FUNDS", "error_message": "m"},
    {"status": "DLQ", "error_code": "TIMEOUT", "error_message": "m"},
)
PIPELINES = ("org.example.a", "org.example.b")
KEYS = ("order-%d", "Order-%d", "100%%_%d", "ör-%d")
TAGS = (None, ["k=v"], ["k=w", "x"])
PEOPLE = ("token:app", "user:eva")


def make(count: int = 240) -> list[Execution]:
    """Insert `count` executions that mix all values, and a dead letter for each that failed. Return them."""
    owner = making.tenant("owner")
    for name in PIPELINES:
        making.ready(owner, pipeline_id=name)
        making.registered(owner, "2.0", pipeline_id=name)
    first = making.execution(owner, "first", pipeline_id=PIPELINES[0])
    check_foreign_keys_now()
    values = itertools.cycle(itertools.product(PIPELINES, ("1.0", "2.0"), TAGS, PEOPLE, (0, 1, 2)))
    with unguarded(Execution):
        for number, (pipeline, version, tags, person, step) in zip(range(count), values, strict=False):
            state = STATES[number * 7 % len(STATES)]
            at = START + timedelta(hours=number % 60)
            _insert(
                first,
                **{"id": str(_id(at, number)), "execution_key": KEYS[number % len(KEYS)] % number},
                **{"pipeline_id": pipeline, "release_version": version, "tags": tags, "submitted_by": person},
                **{"current_step_index": step, "created_at": at.isoformat(), **state},
                **({"finished_at": (at + timedelta(hours=step)).isoformat()} if state["status"] in OVER else {}),
            )
    made = list(Execution.objects.filter(tenant=first.tenant).exclude(pk=first.pk).select_related("tenant"))
    with unguarded(DeadLetter):
        DeadLetter.objects.bulk_create(
            [_letter(each, number) for number, each in enumerate(made) if each.status in FAILED]
        )
    return made


def _id(at: datetime, number: int) -> uuid.UUID:
    return uuid.UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | number)


def _insert(like: Execution, **changes: Any) -> None:
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO executions_execution"
            " SELECT (jsonb_populate_record(e, %s)).* FROM executions_execution e WHERE id = %s",
            [json.dumps(changes), like.pk],
        )


def _letter(of: Execution, number: int) -> DeadLetter:
    return DeadLetter(
        **{"tenant": of.tenant, "execution": of, "execution_version": of.version, "transition_key": "k"},
        **{"terminal_status": of.status, "reason": "non_retryable", "error_code": of.error_code or ""},
        **{"error_message": "m", "retryable": False, "retries_observed": 0, "step_index": number % 3},
        failed_step_index=(number + 1) % 3,
    )


def matches(row: Execution, failed_at: int | None, search: Search) -> bool:
    """Return whether the execution matches. `failed_at` is the step of its last failure."""
    step = failed_at if row.status in FAILED else None if row.status in OVER else row.current_step_index
    wanted = (
        (search.pipeline_id, row.pipeline_id),
        (search.release_version, row.release_version),
        (search.error_code, row.error_code),
        (search.step, step),
        (search.smoke, row.smoke),
        (search.submitted_by, row.submitted_by),
        (search.tenant, row.tenant.slug),
    )
    return (
        all(value is None or value == found for value, found in wanted)
        and (search.status is None or search.status in _statuses(row))
        and (search.since is None or row.created_at >= search.since)
        and (search.until is None or row.created_at < search.until)
        and (search.ended_since is None or (row.finished_at is not None and row.finished_at >= search.ended_since))
        and (search.tag is None or search.tag in (row.tags or []))
        and (search.text is None or row.execution_key.startswith(search.text) or _id_begins(row, search.text))
    )


def _id_begins(row: Execution, text: str) -> bool:
    return len(text.replace("-", "")) >= 4 and str(row.pk).startswith(text)


def _statuses(row: Execution) -> set[str]:
    shown = {"live"} if row.status not in OVER else {"failed"} if row.status in FAILED else set()
    return {row.shown_status, *shown, *({"held"} if row.status == "RUNNING" else set())}
