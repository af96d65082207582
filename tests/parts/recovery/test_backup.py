import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.building import build, eventually
from tests.parts.recovery.cluster import TENANT, Cluster
from tests.parts.recovery.history import histories
from tests.parts.recovery.verdict import faults
from tests.parts.recovery.workload import PIPELINE, runs_of
from tests.parts.upgrade.front import Front
from tests.parts.upgrade.load import Load

PIPELINES = Path(__file__).parent / "pipelines"
_GAPS = """
SELECT p.pipeline_id, count(a.*), max(a.sequence), p.activation_id = max(a.id)
FROM releases_pipeline p LEFT JOIN releases_activation a ON a.pipeline_id = p.id GROUP BY p.id
"""


@pytest.fixture
def up() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def runs_in(folder: Path) -> int:
    file = folder / "started"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_what_was_acknowledged_before_a_backup_survives_a_lost_installation(up: ExitStack, tmp_path: Path) -> None:
    first, second = Cluster(tmp_path / "first"), Cluster(tmp_path / "second")
    # A backup does not contain the secrets.
    for name in ("SECRET_KEY", "WORKER_SECRET"):
        second.product.environment[name] = first.product.environment[name]
    up.callback(first.tear_down)
    first.set_up()
    release = build("chaotic:pipeline", PIPELINES / "v1", tmp_path / "v1", "v1")
    first.activate("worker", release, concurrency=4)
    gated = build("gated:pipeline", PIPELINES / "gated", tmp_path / "gated", "1.0")
    first.activate("gated-worker", gated)
    front = Front(TENANT)
    front.token = first.token
    front.add(first.product)
    load = Load(front, tmp_path / "runs")
    load.start()
    up.callback(load.stop)
    eventually(lambda: len(load.promises) >= 20, seconds=60, what="twenty submissions")
    acknowledged = {promise.execution_id for promise in load.promises}
    held = tmp_path / "held"
    held.mkdir()
    in_flight = first.client().submit(gated.pipeline_id, {"folder": str(held)}, "in-flight")["executionId"]
    eventually(lambda: runs_in(held) == 1, what="a step that runs during the backup")
    first.product.manage("backup", str(tmp_path / "backup"), DATABASE_URL=first.postgres.owner_url)
    time.sleep(1)
    load.stop_submitting()
    assert front.errors == []
    front.take_out(first.product)
    first.tear_down()
    shutil.rmtree(tmp_path / "first")

    second.token = first.token
    up.callback(second.tear_down)
    second.valkey.start()
    second.postgres.start()
    second.product.manage("restore", str(tmp_path / "backup"), DATABASE_URL=second.postgres.owner_url)
    (held / "gate").touch()
    second.host("worker", release, concurrency=4)
    second.host("gated-worker", gated)
    second.restore()
    front.add(second.product)
    eventually(lambda: second.live_executions() == 0, seconds=120, what="the end of all executions")
    with second.connect() as connection:
        ended = histories(connection, pipeline_id=PIPELINE)
        [interrupted] = histories(connection, pipeline_id=gated.pipeline_id)
        gaps = connection.execute(_GAPS).fetchall()
    restored = {history.execution_id for history in ended}
    assert acknowledged <= restored
    promises = [promise for promise in load.promises if promise.execution_id in restored]
    assert faults(promises, ended, runs_of(tmp_path / "runs"), load.needed()) == []
    assert (interrupted.execution_id, interrupted.status) == (in_flight, "SUCCEEDED")
    assert interrupted.count("LEASE_EXPIRED") == 1
    assert runs_in(held) == 2
    assert sorted(gaps) == sorted([(PIPELINE, 1, 1, True), (gated.pipeline_id, 1, 1, True)])
    assert second.product.manage("verify_audit", DATABASE_URL=second.postgres.owner_url)
    # Answers to questions that were asked after the backup.
    assert [error for error in front.errors if "INTERACTION_UNKNOWN" not in error] == []
    repeated = second.post(
        "executions", {"pipelineId": PIPELINE, "input": load.input(0), "idempotencyKey": load.jobs[0].key}
    )
    assert (repeated.status_code, repeated.json()["executionId"] in acknowledged) == (200, True)
