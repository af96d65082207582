"""Processes are killed while schedules fire."""

import time
from random import Random
from typing import Any

import psycopg
import pytest

from tests.building import eventually
from tests.parts.recovery.scenario import WORKER, Scenario

TIMES = 100
DUE = f"""UPDATE executions_schedule
    SET next_at = date_trunc('minute', now()) - interval '{TIMES} minutes', paused_at = NULL WHERE name = %s"""
LATE = "SELECT EXISTS (SELECT FROM executions_schedule WHERE next_at <= now())"
# How many minutes there were, fires, submitted fires, their executions, and executions of the schedule.
TIMES_OF = """SELECT extract(epoch FROM max(f.scheduled_at) - min(f.scheduled_at))::int / 60 + 1, count(*),
        count(*) FILTER (WHERE f.state = 'SUBMITTED'), count(DISTINCT f.execution_id),
        (SELECT count(*) FROM executions_execution e WHERE e.submitted_by = 'schedule:' || s.name)
    FROM executions_schedule s JOIN executions_schedulefire f ON f.schedule_id = s.id WHERE s.name = %s GROUP BY s.id"""
OPEN = "SELECT EXISTS (SELECT FROM executions_schedulefire WHERE state = 'DUE')"


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
