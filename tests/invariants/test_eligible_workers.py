from typing import Any

import pytest

from tests.invariants.attempts import Connection, unguarded
from tests.invariants.new_rows import Change, release, tenant
from tests.invariants.new_rows_of_executions import execution
from tests.invariants.new_rows_of_operations import WORKER

CONTRACT = "(SELECT contract_version FROM releases_release WHERE id = {})"
ACTIVE = release("1.0")
FILE = f"(SELECT {{}} FROM releases_artifact WHERE release_id = {ACTIVE})"
AGO = "now() - interval '1 hour'"
NAME = "repeat('w', 200)"
FITTING = {
    "contract_version": CONTRACT.format(ACTIVE),
    "release_version": "'1.0'",
    "alive_until": "now() + interval '1 minute'",
    "capacity": "3",
    "worker_id": NAME,
}
REST = {"protocol": "'rest'"}
NOW = "now()"
HEALTHY: dict[str, Any] = {
    **{"reason": None, "state": "HEALTHY", "present": True, "admits": True, "capacity": 3, "verdict": None}
}


def because(reason: str, **others: Any) -> dict[str, Any]:
    return {"reason": reason, "admits": False, **others}


CASES: list[tuple[Change, dict[str, Any]]] = [
    ({}, {}),
    ({"contract_version": "'x'"}, because("RELEASE_UNKNOWN")),
    ({"release_version": "'0.4'"}, because("RELEASE_UNKNOWN")),
    ({"tenant_id": tenant("other")}, because("RELEASE_UNKNOWN")),
    ({"pipeline_id": "'another'"}, because("RELEASE_UNKNOWN")),
    ({"protocol": "'sqs'"}, because("PROTOCOL_NOT_SUPPORTED")),
    ({"abandoned": "1"}, {"capacity": 2}),
    ({"abandoned": "3"}, because("NO_FREE_THREAD", capacity=0)),
    ({"stopped_at": AGO}, because("STOPPED", state="UNAVAILABLE", present=False)),
    ({"draining_since": AGO}, because("DRAINING", state="DRAINING")),
    ({"drained_by_operator_at": AGO}, because("DRAINED_BY_OPERATOR", state="DRAINING")),
    ({"alive_until": AGO}, because("SILENT", state="STALE", present=False)),
    ({"blocked_reason": "'ENDPOINT_NOT_ALLOWED'"}, because("ENDPOINT_NOT_ALLOWED")),
    ({"artifact_digest": "'x'"}, because("OTHER_ARTIFACT")),
    ({"artifact_id": FILE.format("artifact_id"), "artifact_digest": "'x'"}, because("OTHER_ARTIFACT")),
    ({"artifact_id": "'x'", "artifact_digest": FILE.format("digest")}, because("OTHER_ARTIFACT")),
    ({"code": "'source'"}, because("UNVERIFIED_CODE")),
    ({"code": "'source'", "drained_by_operator_at": AGO}, because("UNVERIFIED_CODE", state="DRAINING")),
    ({"code": "'artifact'"}, {}),
    ({"code": "''"}, {}),
    (REST, {}),
    ({**REST, "alive_until": AGO}, {"state": "STALE", "admits": False}),
    ({**REST, "stopped_at": AGO}, because("STOPPED", state="UNAVAILABLE", present=False)),
    ({**REST, "capability_checked_at": NOW, "capability_error": "'x'"}, {"verdict": False}),
    ({**REST, "capability_checked_at": "now() - interval '59 seconds'"}, {"verdict": True}),
    ({**REST, "capability_checked_at": "now() - interval '60 seconds'"}, {}),
    ({**REST, "capability_checked_at": AGO, "capability_error": "'x'", "unanswered_checks": "1"}, {"verdict": False}),
]


def test_which_worker_is_eligible(database: Connection) -> None:
    columns = ", ".join(HEALTHY)
    for change, expected in CASES:
        with database.transaction(force_rollback=True):
            database.execute(WORKER.statement({**FITTING, **change}))
            [row] = database.execute(f"""SELECT {columns}, release_id = {ACTIVE}, lease_owner
                FROM executions_workereligibility WHERE worker_id = (SELECT max(id) FROM executions_worker)""")
        wanted = HEALTHY | expected
        assert dict(zip(wanted, row, strict=False)) == wanted, change
        assert bool(row[-2]) == (wanted["reason"] != "RELEASE_UNKNOWN"), change
        assert row[-1].startswith("rest:" if change.get("protocol") == "'rest'" else "worker:w"), change
        assert len(row[-1]) == 200, change


def test_a_rejected_release_has_no_eligible_worker_and_hides_no_other(database: Connection) -> None:
    database.execute(WORKER.statement(FITTING))
    copy = f"""INSERT INTO releases_release SELECT (jsonb_populate_record(r, jsonb_build_object(
        'id', r.id + 1000, 'status', 'REJECTED'))).* FROM releases_release r WHERE id = {ACTIVE}"""
    [active] = database.execute(f"SELECT {ACTIVE}")
    unguarded(database, copy)
    rows = database.execute("""SELECT release_id FROM executions_workereligibility
        WHERE worker_id = (SELECT max(id) FROM executions_worker)""")
    assert rows.fetchall() == [active]


@pytest.mark.parametrize(
    ("expected_by", "clock"),
    [
        ("now() - interval '1 microsecond'", "now() - interval '1 day'"),
        ("now()", "now()"),
        ("now() + interval '1 second'", "now()"),
        (None, "now()"),
    ],
)
def test_the_clock_stops_while_no_message_arrives(database: Connection, expected_by: str | None, clock: str) -> None:
    database.execute("DELETE FROM executions_messagepath")
    if expected_by:
        values = f"1, now() - interval '1 day', {expected_by}"
        database.execute(f"INSERT INTO executions_messagepath (id, arrived_at, expected_by) SELECT {values}")
    assert database.execute(f"SELECT worker_clock() = {clock}").fetchone() == (True,)
    silent = {
        protocol: database.execute(f"""SELECT NOT admits FROM executions_workereligibility
            WHERE worker_id = {added(database, protocol)}""").fetchone()
        for protocol in ("celery", "rest")
    }
    assert silent == {"celery": (clock == "now()",), "rest": (True,)}


def added(database: Connection, protocol: str) -> int:
    change = {"protocol": f"'{protocol}'", "alive_until": AGO, "worker_id": f"'{protocol}'"}
    database.execute(WORKER.statement({**FITTING, **change}))
    [(key,)] = database.execute("SELECT max(id) FROM executions_worker")
    return int(key)


def running(database: Connection, key: str, owner: str, pinned: str = ACTIVE) -> None:
    change = f"""UPDATE executions_execution SET status = 'RUNNING', finished_at = NULL, result = NULL,
        await_unit_id = NULL, lease_owner = '{owner}', lease_protocol = 'celery', lease_token = gen_random_uuid(),
        lease_expires_at = now(), release_id = {pinned} WHERE id = {execution(key)}"""
    unguarded(database, change)


def counted(database: Connection, owners: list[str] | None, release_id: str = ACTIVE) -> Any:
    [(held,)] = database.execute(f"SELECT count_running_for_claim({release_id}, %s::text[])", [owners])
    return held


def test_a_claim_counts_the_running_executions_of_its_release_and_of_its_rest_workers(database: Connection) -> None:
    [(first,)] = database.execute(f"SELECT lease_owner FROM executions_execution WHERE id = {execution('running')}")
    running(database, "queued", "rest:1")
    running(database, "retried", "rest:1", release("0.5"))
    running(database, "asking", "rest:2", release("0.5"))
    running(database, "dead", "rest:1", release("1.0", "owner", "org.example.other"))
    assert counted(database, None) == {first: 1, "rest:1": 1}
    assert counted(database, ["rest:1"]) == {first: 1, "rest:1": 2}
    assert counted(database, ["rest:1", "rest:2"]) == {first: 1, "rest:1": 2, "rest:2": 1}
    assert counted(database, None, release("0.5")) == {"rest:1": 1, "rest:2": 1}
    assert counted(database, ["rest:9"], release("0.5")) == {"rest:1": 1, "rest:2": 1}
    assert counted(database, None, release("0.3")) == {}
