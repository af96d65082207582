"""If processes are killed, no more executions of a key start or run than its release allows, and each starts once."""

import random
import time
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

from tests.building import build, eventually
from tests.parts.recovery.cluster import Cluster

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
OPEN = "SELECT count(*) FROM executions_execution WHERE pipeline_id = 'org.example.starts' AND finished_at IS NULL"
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

        eventually(lambda: answer(OPEN) == [(0,)], seconds=90, what="the end of all executions")
        assert (answer(WRONG), answer(TOO_FAST), answer(MOST)) == ([], [(0,)], [(2,)])
    cluster.remove("starts")
