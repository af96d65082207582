"""A control worker is killed when it has submitted the executions of a schedule, before it records them."""

from typing import Any

import psycopg

from tests.building import eventually
from tests.parts.recovery.scenario import Scenario

TIMES = 100
ATTEMPTS = 5
DUE = f"""UPDATE executions_schedule SET next_at = date_trunc('minute', now()) - interval '{TIMES} minutes'
    WHERE name = %s"""
LEASED = """SELECT FROM executions_schedulefire
    WHERE state = 'DUE' AND next_attempt_at > now() + interval '5 seconds' FOR UPDATE"""
OPEN = "SELECT EXISTS (SELECT FROM executions_schedulefire WHERE state = 'DUE')"
WAITING = """SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%%SET state = r.state%%'"""
# A server process whose client was killed still carries out the statement that waits.
END_RECORD = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE '%SET state = r.state%'"""
EXECUTIONS = "SELECT count(*) FROM executions_execution WHERE submitted_by LIKE 'schedule:%%'"
FIRES = """SELECT count(*) FILTER (WHERE state = 'SUBMITTED'), count(DISTINCT execution_id), count(*)
    FROM executions_schedulefire"""


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
    members = {
        **{"name": name, "pipelineId": scenario.release.pipeline_id, "cron": "0 0 1 1 *", "overlap": "queue"},
        **{"input": {"folder": str(scenario.folder_of("x"))}, "catchUpMinutes": 1000},
    }
    made = scenario.cluster.post("schedules", members).json()
    connection.execute("UPDATE executions_schedule SET cron = '* * * * *' WHERE name = %s", [name])
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
    connection.execute("UPDATE executions_schedule SET next_at = NULL WHERE id = %s", [made["scheduleId"]])
    return caught


def row(connection: psycopg.Connection[Any], query: str, *values: str) -> Any:
    return connection.execute(query.encode(), values).fetchone()
