"""A control worker is killed when it has submitted the executions of a schedule, before it records them."""

import time
from random import Random
from typing import Any

import psycopg
import pytest

from tests.building import eventually
from tests.parts.recovery.scenario import WORKER, Scenario

TIMES = 100
ATTEMPTS = 5
DUE = f"""UPDATE executions_schedule
    SET next_at = date_trunc('minute', now()) - interval '{TIMES} minutes', paused_at = NULL WHERE name = %s"""
LATE = "SELECT EXISTS (SELECT FROM executions_schedule WHERE next_at <= now())"
# How many minutes there were, fires, submitted fires, their executions, and executions of the schedule.
TIMES_OF = """SELECT extract(epoch FROM max(f.scheduled_at) - min(f.scheduled_at))::int / 60 + 1, count(*),
        count(*) FILTER (WHERE f.state = 'SUBMITTED'), count(DISTINCT f.execution_id),
        (SELECT count(*) FROM executions_execution e WHERE e.submitted_by = 'schedule:' || s.name)
    FROM executions_schedule s JOIN executions_schedulefire f ON f.schedule_id = s.id WHERE s.name = %s GROUP BY s.id"""
LEASED = """SELECT FROM executions_schedulefire
    WHERE state = 'DUE' AND next_attempt_at > now() + interval '5 seconds' FOR UPDATE"""
OPEN = "SELECT EXISTS (SELECT FROM executions_schedulefire WHERE state = 'DUE')"
WAITING = """SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%%SET state = r.state%%'"""
# A server process whose client was killed still carries out the statement that waits.
END_RECORD = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%SET state = r.state%'"""
EXECUTIONS = "SELECT count(*) FROM executions_execution WHERE submitted_by LIKE 'schedule:attempt%%'"
FIRES = """SELECT count(*) FILTER (WHERE f.state = 'SUBMITTED'), count(DISTINCT f.execution_id), count(*)
    FROM executions_schedulefire f JOIN executions_schedule s ON s.id = f.schedule_id WHERE s.name LIKE 'attempt%%'"""


def test_each_time_fires_exactly_once_although_a_control_worker_is_killed(scenario: Scenario) -> None:
    scenario.open_gate("x")
    with psycopg.connect(scenario.cluster.postgres.superuser_url(), autocommit=True) as connection:
        assert any(killed(scenario, connection, f"attempt {number}") for number in range(ATTEMPTS))
        submitted, _, fires = row(connection, FIRES)
        assert (submitted < fires, row(connection, EXECUTIONS)[0] > submitted) == (True, True)
        scenario.cluster.restart("clock")
        scenario.cluster.start("control-1")
        eventually(lambda: not row(connection, OPEN)[0], seconds=120, what="the record of each time")
        submitted, executions, fires = row(connection, FIRES)
        assert submitted == executions == fires == row(connection, EXECUTIONS)[0]


def killed(scenario: Scenario, connection: psycopg.Connection[Any], name: str) -> bool:
    """Let a schedule fire, and kill the process that submits. Return False if the fires were recorded before."""
    schedule_id = added(scenario, name)
    connection.execute(DUE, [name])
    caught = False
    while not caught and row(connection, "SELECT next_at < now() FROM executions_schedule WHERE name = %s", name)[0]:
        pass
    while not caught and row(connection, OPEN)[0]:
        with connection.transaction():
            caught = connection.execute(LEASED).rowcount > 0
            if caught:
                with psycopg.connect(scenario.cluster.postgres.superuser_url(), autocommit=True) as other:
                    eventually(lambda: row(other, WAITING)[0], seconds=60, what="a record that waits")
                    scenario.cluster.kill("control-1")
                    other.execute(END_RECORD)
    connection.execute("UPDATE executions_schedule SET next_at = NULL WHERE id = %s", [schedule_id])
    return caught


@pytest.mark.parametrize("seed", [1, 2])
def test_each_time_fires_exactly_once_whichever_process_dies(scenario: Scenario, seed: int) -> None:
    scenario.open_gate("x")
    random = Random(seed)
    names = {f"{overlap} {seed} {number}": overlap for number in range(3) for overlap in ("queue", "skip", "cancel")}
    for name, overlap in names.items():
        added(scenario, name, overlap)
    with psycopg.connect(scenario.cluster.postgres.superuser_url(), autocommit=True) as connection:
        for name in names:
            connection.execute(DUE, [name])
            time.sleep(random.uniform(0, 1.5))
            scenario.cluster.restart(random.choice(["control-1", "clock", "web", WORKER]))
        eventually(lambda: not row(connection, LATE)[0], seconds=120, what="the fire of each time")
        connection.execute("UPDATE executions_schedule SET next_at = NULL")
        eventually(lambda: not row(connection, OPEN)[0], seconds=120, what="the record of each time")
        for name in names:
            wanted, times, submitted, executions, made = row(connection, TIMES_OF, name)
            assert times >= TIMES, name
            assert (wanted, submitted) == (times, executions), name
            assert executions == made, name


def added(scenario: Scenario, name: str, overlap: str = "queue") -> str:
    """Add a schedule that fires every minute, once its next time is moved to the past. Return its id."""
    members = {
        **{"name": name, "pipelineId": scenario.release.pipeline_id, "cron": "* * * * *", "overlap": overlap},
        **{"input": {"folder": str(scenario.folder_of("x"))}, "catchUpMinutes": 1000, "paused": True},
    }
    return str(scenario.cluster.post("schedules", members).json()["scheduleId"])


def row(connection: psycopg.Connection[Any], query: str, *values: str) -> Any:
    return connection.execute(query.encode(), values).fetchone()
