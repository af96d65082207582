"""The web process, control workers and transition workers are killed, frozen or asked to end.

`tests/e2e/test_product.py` kills a transition worker during a step.
"""

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from random import Random
from signal import SIGTERM
from typing import Any

import psycopg
import pytest

from tests.building import build, eventually
from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.scenario import WORKER, Scenario

ONCE = ["SUBMITTED", "CLAIMED", "SUCCEEDED"]


def test_an_unacknowledged_outcome_is_redelivered_and_recorded(scenario: Scenario) -> None:
    """The UPDATE for the outcome waits for a row that the test has locked, and is rolled back with its connection.
    With the clock stopped no lease is taken over, so that only the message itself can end the execution.

    Control workers redeliver the messages of dead processes one at a time, under a lock in the broker. Here the test
    takes the lock and never releases it, like a process that died while it held the lock.
    """
    scenario.stop_the_clock()
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    with scenario.locked_row(execution_id):
        scenario.open_gate("x")
        scenario.wait_for_record()
        scenario.cluster.kill("control-1")
    assert (scenario.history(execution_id).kinds, scenario.outcomes) == (["SUBMITTED", "CLAIMED"], 0)
    scenario.lock_redelivery()

    scenario.cluster.start("control-1")
    assert scenario.ended(execution_id).kinds == ONCE
    assert scenario.runs("x") == 1


def test_a_control_worker_that_shuts_down_records_its_current_outcome(scenario: Scenario) -> None:
    """It gets SIGTERM while the UPDATE waits for the row, and ends after the UPDATE and the acknowledgement."""
    scenario.stop_the_clock()
    execution_id = scenario.submit("x")
    scenario.wait_for_run("x")
    control = scenario.cluster.process("control-1")
    with scenario.locked_row(execution_id):
        scenario.open_gate("x")
        scenario.wait_for_record()
        control.send(SIGTERM)
        eventually(lambda: "Warm shutdown" in control.log_tail(400), what="the start of the shutdown")
    assert (control.wait(30), scenario.unacknowledged) == (0, 0)
    scenario.cluster.kill("control-1")
    assert scenario.ended(execution_id).kinds == ONCE
    assert scenario.runs("x") == 1


def test_a_claimed_execution_is_sent_before_the_process_ends(scenario: Scenario) -> None:
    """SIGTERM arrives while the broker is frozen. The claim is committed, and no other process would send it."""
    scenario.stop_the_clock()
    scenario.open_gate("x")
    broker, web = scenario.cluster.valkey.child, scenario.cluster.process("web")
    assert broker is not None
    with scenario.cluster.stopped(broker):
        execution_id = scenario.submit("x")
        scenario.wait_for_event(execution_id, "CLAIMED")
        web.send(SIGTERM)
        with pytest.raises(TimeoutError):
            web.wait(1)
    web.wait(10)
    assert scenario.ended(execution_id).kinds == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]
    scenario.cluster.kill("web")


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


SOURCE = """
import time

from pydantic import BaseModel

from pipelines import Concurrency, Pipeline, Rate


class Transfer(BaseModel):
    account: str


limits = Concurrency(limit=2, key="account", rate=Rate(limit=3, seconds=2))
pipeline = Pipeline("org.example.starts", concurrency=limits)


@pipeline.step
def send(transfer: Transfer) -> Transfer:
    time.sleep(0.3)
    return transfer
"""
SECONDS, EACH, AHEAD = 30, 60, 8
LIVE = "SELECT count(*) FROM executions_execution WHERE pipeline_id = 'org.example.starts' AND finished_at IS NULL"
# Pairs of starts of a key that are three apart and less than two seconds apart.
TOO_FAST = """SELECT count(*) FROM (
    SELECT started_at - lag(started_at, 3) OVER (PARTITION BY concurrency_key ORDER BY started_at) AS apart
    FROM executions_execution WHERE pipeline_id = 'org.example.starts') s WHERE apart < interval '2 seconds'"""
# The most executions of a key that were in progress when another of them started, which counts itself.
MOST = """SELECT max((SELECT count(*) FROM executions_execution o WHERE o.concurrency_key = e.concurrency_key
        AND o.started_at <= e.started_at AND o.finished_at > e.started_at))
    FROM executions_execution e WHERE e.pipeline_id = 'org.example.starts'"""
# Executions that did not succeed, started early, or were claimed again although no lease was lost.
WRONG = """SELECT e.execution_key, e.status, e.started_at, e.not_before FROM executions_execution e
    WHERE e.pipeline_id = 'org.example.starts' AND (e.status <> 'SUCCEEDED' OR e.started_at < e.not_before
        OR (SELECT count(*) FILTER (WHERE v.kind = 'CLAIMED') - count(*) FILTER (WHERE v.status = 'QUEUED')
            FROM executions_executionevent v WHERE v.execution_id = e.id) <> 0)"""


def test_killed_processes_start_nothing_too_often_or_too_early(cluster: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "starts.py").write_text(SOURCE)
    release = build("starts:pipeline", source, tmp_path / "dist", "1.0")
    cluster.activate("starts", release, concurrency=4)
    later = (datetime.now(UTC) + timedelta(seconds=AHEAD)).isoformat()
    items = [
        {"pipelineId": release.pipeline_id, "input": {"account": account}, "idempotencyKey": f"{account}-{number}"}
        | {"priority": ["low", "normal", "high"][number % 3]}
        | ({"notBefore": later} if number % 4 == 0 else {})
        for number, account in zip(range(EACH), cycle("abcd"), strict=False)
    ]
    verdicts = cluster.post("executions:batch", {"items": items}).json()["items"]
    assert {each["status"] for each in verdicts} == {202}
    chance, until = random.Random(7), time.monotonic() + SECONDS
    while time.monotonic() < until:
        name = chance.choice(["control-1", "clock", "starts", "control-1"])
        cluster.kill(name)
        time.sleep(chance.uniform(0, 1))
        cluster.start(name)
        time.sleep(chance.uniform(0.5, 4))
    cluster.restore()
    with cluster.connect() as connection:

        def answer(query: str) -> object:
            return connection.execute(query.encode()).fetchall()

        eventually(lambda: answer(LIVE) == [(0,)], seconds=90, what="the end of all executions")
        assert (answer(WRONG), answer(TOO_FAST), answer(MOST)) == ([], [(0,)], [(2,)])
    cluster.remove("starts")
