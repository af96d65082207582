"""Stops the broker under load and prints the outcome: `python -m tests.recovery.outage --seconds 180`."""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from executions.models.states import TERMINAL
from tests.building import build, eventually
from tests.recovery.cluster import Cluster
from tests.recovery.history import History, histories
from tests.recovery.scene import WORKER, Scene

PIPELINES = Path(__file__).parent / "pipelines"
# As an installation has them, unlike the other recovery tests.
ORDINARY = {"SWEEP_SECONDS": "5", "LEASE_SECONDS": "30"}


@contextmanager
def outage(cluster: Cluster, fault: str) -> Iterator[None]:
    """Within the block the broker is `away` or `full`."""
    if fault == "away":
        cluster.valkey.stop()
        yield
        cluster.valkey.start()
        return
    with Redis.from_url(cluster.valkey.owner_url) as client:
        client.config_set("maxmemory", 1)
        yield
        client.config_set("maxmemory", 0)


def submitted(scene: Scene, stage: str, seconds: float, *, pause: float = 0.2) -> list[dict[str, Any]]:
    """Submit for `seconds`. Return the answers, each with its HTTP status as `httpStatus`."""
    made: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        key = f"{stage}-{len(made)}"
        scene.open_gate(key)
        body = {
            "pipelineId": scene.release.pipeline_id,
            "input": {"folder": str(scene.place(key))},
            "idempotencyKey": f"{scene.folder.name}-{key}",
        }
        answer = scene.cluster.post("executions", body)
        made.append({"httpStatus": answer.status_code, **answer.json()})
        time.sleep(pause)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="how long the outage lasts")
    parser.add_argument("--fault", choices=["away", "full"], default="away")
    parser.add_argument("--rate", type=float, default=10, help="submissions a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        cluster.product.environment.update(ORDINARY)
        try:
            cluster.set_up()
            release = build("gated:pipeline", PIPELINES / "gated", Path(folder) / "gated", "1.0")
            cluster.publish(release)
            cluster.client().activate(release.pipeline_id, release.version, "")
            cluster.host(WORKER, release, concurrency=8)
            cluster.restore()
            cluster.client().wait_for_worker(WORKER)
            (Path(folder) / "run").mkdir()
            run(Scene(cluster, release, Path(folder) / "run"), options.fault, options.seconds, 1 / options.rate)
        finally:
            cluster.tear_down()


def run(scene: Scene, fault: str, seconds: float, pause: float) -> None:
    stages = {"before": submitted(scene, "before", 10, pause=pause)}
    with outage(scene.cluster, fault):
        stages["during"] = submitted(scene, "during", seconds, pause=pause)
    back = time.monotonic()
    stages["after"] = submitted(scene, "after", 60, pause=pause)
    for stage, answers in stages.items():
        statuses = Counter(answer["httpStatus"] for answer in answers)
        delayed = sum(answer.get("dispatchDelayed", False) for answer in answers)
        print(f"{stage}: {len(answers)} submissions, by status {dict(statuses)}, {delayed} said to be delayed")
    found = eventually(lambda: finished(scene), seconds=300, what="the end of every execution")
    print(f"all over {time.monotonic() - back:.0f} s after the broker was back; fallen: {scene.cluster.fallen()}")
    claims = Counter(history.count("CLAIMED") for history in found)
    print(f"{len(found)} executions, by status {dict(Counter(history.status for history in found))}")
    print(f"executions by number of claims: {dict(sorted(claims.items()))}")


def finished(scene: Scene) -> list[History]:
    """Every execution, once all have ended; until then nothing."""
    with scene.cluster.connect() as connection:
        found = histories(connection, pipeline_id=scene.release.pipeline_id)
    return found if all(history.status in TERMINAL for history in found) else []


if __name__ == "__main__":
    main()
