import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from executions.models import Execution
from executions.search import PARAMETERS, Search, matching, parse
from executions.search_steps import MOST_RARE
from foundation.errors import InvalidRequest
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import raised, rows_read, run, unguarded
from wire.messages.celery_messages import Failure

Rows = dict[str, Execution]
STEPS = making.steps("Validate", "Ship")
KEYS = ("ok", "failed", "dlq", "claimed", "running", "asks", "queued", "other")
"""In the order of their submission, an hour apart."""
MOST = 100


@pytest.fixture(scope="module")
def rows(module_world: None) -> Rows:
    """The executions by their keys. `queued` is on release 2.0, and `other` in another pipeline."""
    owner, _ = making.ready(steps=STEPS)
    Pipeline.objects.update(retry_limit=0)
    made = {key: making.execution(owner, key) for key in KEYS[:6]}
    claims = {claim.execution_id: claim for claim in making.claimed(owner)}
    ok, failed, dlq, asks = (claims[made[key].pk] for key in ("ok", "failed", "dlq", "asks"))
    at_the_second_step = Failure(failure_class="NO_FUNDS", message="why", retryable=False, step_index=1)
    outcomes = [making.outcome_of(ok), making.outcome_of(failed, "FAILED", failure=at_the_second_step)]
    making.record(*outcomes, making.failure(dlq, "TIMEOUT"), making.suspension(asks))
    making.worker(making.active(owner, "2.0", steps=STEPS), "worker-2")
    making.execution(owner, "queued")
    making.worker(making.active(owner, pipeline_id="org.example.other"), "worker-3")
    making.execution(owner, "other", pipeline_id="org.example.other")
    with unguarded(Execution):
        for number, key in enumerate(KEYS):
            row = Execution.objects.filter(execution_key=key)
            row.update(created_at=at(number), submitted_by="user:eva" if number < 2 else "token:app")
            row.filter(finished_at__isnull=False).update(finished_at=at(10 * number + 10))
        Execution.objects.filter(execution_key="running").update(running_since=timezone.now())
        Execution.objects.filter(execution_key="ok").update(tags=["k=v", "=x"])
    return {row.execution_key: row for row in Execution.objects.select_related("tenant")}


def at(hours: float) -> datetime:
    """Return a time after the registration of the releases."""
    return BEGIN + timedelta(hours=hours)


BEGIN = timezone.now() + timedelta(days=1)


def keys_of(tenants: list[Tenant], person: User | None = None, **conditions: Any) -> list[str]:
    return [row.execution_key for row in matching(tenants, Search(**conditions), person=person).newest(MOST)]


@cases(
    ("conditions", "keys"),
    ({}, list(KEYS)),
    ({"status": "live"}, ["claimed", "running", "asks", "queued", "other"]),
    ({"status": "failed"}, ["failed", "dlq"]),
    ({"status": "held"}, ["claimed", "running"]),
    ({"status": "RUNNING"}, ["running"]),
    ({"pipeline_id": "org.example.other"}, ["other"]),
    ({"release_version": "2.0"}, ["queued"]),
    ({"error_code": "TIMEOUT"}, ["dlq"]),
    ({"step": 1}, ["failed"]),
    ({"step": "Ship"}, ["failed"]),
    ({"step": "ship", "pipeline_id": "org.example.other"}, []),
    ({"step": 0, "pipeline_id": "org.example.other"}, ["other"]),
    ({"since": at(6)}, ["queued", "other"]),
    ({"until": at(1)}, ["ok"]),
    ({"ended_since": at(20)}, ["failed", "dlq"]),
    ({"tag": "k=v"}, ["ok"]),
    ({"smoke": True}, []),
    ({"smoke": False, "submitted_by": "user:eva"}, ["ok", "failed"]),
    ({"text": "o"}, ["ok", "other"]),
    ({"text": "%"}, []),
    ({"tenant": "another"}, []),
)
def test_a_search_fulfils_all_conditions_newest_first(rows: Rows, conditions: dict[str, Any], keys: list[str]) -> None:
    assert keys_of([rows["ok"].tenant], **conditions) == keys[::-1]


def test_only_what_the_tenants_have_is_found_in_the_order_of_ids(rows: Rows) -> None:
    stranger, tenant = making.tenant("other"), rows["ok"].tenant
    assert keys_of([stranger]) == keys_of([stranger], text=str(rows["ok"].pk)) == keys_of([stranger], tag="k=v") == []
    assert keys_of([stranger, tenant]) == list(KEYS)[::-1]


def test_common_tags_are_found_in_the_tenant_alone(rows: Rows) -> None:
    other, _ = making.ready()
    for tenant in (rows["ok"].tenant, other):
        making.copies(making.execution(tenant, "first"), MOST_RARE + 1, tags=["common"])
    common = matching([other], Search(tag="common")).all()
    assert (len(common), {row.tenant for row in common}) == (MOST_RARE + 1, {other})


def test_a_row_that_no_longer_fulfils_a_condition_is_not_selected(rows: Rows) -> None:
    selected = matching([rows["ok"].tenant], Search(step=0)).all()
    with unguarded(Execution):
        Execution.objects.filter(execution_key="queued").update(current_step_index=1)
    assert {row.execution_key for row in selected} == {"dlq", "claimed", "running", "asks", "other"}


def test_an_id_is_found_by_its_beginning_as_it_is_written(rows: Rows) -> None:
    pk = str(rows["ok"].pk)
    tenants = [rows["ok"].tenant, making.tenant("other")]
    digits = pk.replace("-", "")
    for text in (pk, pk.upper(), digits, pk[:30], digits[:30], pk[:24]):
        assert "ok" in keys_of(tenants, text=text), text
    for text in (f"{pk[:5]}-{pk[5:8]}", f"{pk[:8]}--{pk[9:]}", f"{pk[:23]}{pk[24:]}", f"{digits}0", f"{pk}-"):
        assert keys_of(tenants, text=text) == [], text
    query = str(matching(tenants, Search(text=pk)).all().query)
    assert "execution_key" not in query.partition("WHERE")[2], "only the id is looked up"


RARE: dict[str, Any] = {
    **dict.fromkeys(("release_version", "error_code", "tag", "text", "key", "business_key"), "none"),
    **dict.fromkeys(("origin", "failure_group"), uuid.UUID(int=1)),
    **{"step": 8, "smoke": True, "submitted_by": "user:nobody", "ended_since": BEGIN + timedelta(days=99)},
}


OTHERS = 2000


@pytest.fixture
def crowd(rows: Rows) -> Tenant:
    """The tenant, with many newer executions."""
    owner = rows["ok"].tenant
    making.copies(making.execution(owner, "others"), OTHERS, created_at=at(100), updated_at=at(100))
    with unguarded(Execution):
        Execution.objects.filter(created_at=at(100)).update(status="CANCELLED", finished_at=at(101))
    run("ANALYZE executions_execution")
    return owner


@cases("condition", RARE)
def test_what_few_fulfil_is_found_without_reading_the_others(crowd: Tenant, condition: str) -> None:
    before = rows_read(Execution)
    assert keys_of([crowd], **{condition: RARE[condition]}) == []
    assert rows_read(Execution) - before < OTHERS / 10


def test_the_oldest_of_several_tenants_are_found_without_reading_newer_ones(crowd: Tenant) -> None:
    before = rows_read(Execution)
    assert keys_of([crowd, making.tenant("other")], until=at(1)) == ["ok", "others"]
    assert rows_read(Execution) - before < OTHERS / 10


NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
GROUP = uuid.UUID(int=17)


CONDITIONS: dict[str, tuple[str, str, Any]] = {
    "q": (" ab ", "text", "ab"),
    "status": ("live", "status", "live"),
    "pipeline": ("p", "pipeline_id", "p"),
    "release": ("1", "release_version", "1"),
    "error": ("E", "error_code", "E"),
    "step": ("2", "step", 1),
    "since": ("2h", "since", NOW - timedelta(hours=2)),
    "until": ("2026-01-31T11:00:00Z", "until", NOW - timedelta(hours=1)),
    "ended": ("15 m", "ended_since", NOW - timedelta(minutes=15)),
    "tag": ("k=v", "tag", "k=v"),
    "smoke": ("no", "smoke", False),
    "by": ("me", "submitted_by", "me"),
    "stranded": ("yes", "stranded", True),
    "group": (str(GROUP), "failure_group", GROUP),
    "tenant": ("acme", "tenant", "acme"),
}
"""Of each parameter: a text, and the field of `Search` and the value that it gives."""


def test_each_parameter_is_a_condition() -> None:
    assert CONDITIONS.keys() == PARAMETERS.keys()
    expected = Search(**{field: value for _, field, value in CONDITIONS.values()})
    assert parse({name: text for name, (text, _, _) in CONDITIONS.items()}, now=NOW) == expected


TEXTS = ("q", "pipeline", "release", "error", "tag", "by", "tenant", "group")


@cases(
    ("name", "text"),
    *(("since", text) for text in ("x", "2026-02-30 10:00", "9999999d", "-1h")),
    *(("step", text) for text in ("0", "99999")),
    *((name, "x") for name in ("group", "smoke", "status", "nonsense", "input__n")),
    *((name, text) for name in TEXTS for text in ("x" * 1501, "a\0b")),
)
def test_a_wrong_parameter_is_named(name: str, text: str) -> None:
    caught = raised(InvalidRequest, parse, {"status": "live", name: text}, now=NOW)
    assert [error["field"] for error in caught.errors] == [name]
