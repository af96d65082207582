"""Stops the broker under load and prints the outcome: `python -m tests.parts.recovery.outage --seconds 180`."""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

import tests.standalone  # noqa: F401 - this module is also a program
from tests.building import build, eventually
from tests.parts.recovery.cluster import Cluster
from tests.parts.recovery.history import histories
from tests.parts.recovery.scenario import WORKER, Scenario

PIPELINES = Path(__file__).parent / "pipelines"
# The values of an ordinary installation. The other recovery tests use shorter ones.
ORDINARY_SETTINGS = {"SWEEP_SECONDS": "5", "LEASE_SECONDS": "30"}


@contextmanager
def outage(cluster: Cluster, fault: str) -> Iterator[None]:
    """Stop the broker, or let it reject writes, for the block. `fault` is "down" or "full"."""
    if fault == "down":
        cluster.valkey.stop()
        try:
            yield
        finally:
            cluster.valkey.start()
        return
    with Redis.from_url(cluster.valkey.owner_url) as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


def submit_for(scenario: Scenario, stage: str, seconds: float, *, pause: float = 0.2) -> list[dict[str, Any]]:
    """Submit for `seconds`. Return the responses, each with its HTTP status as `httpStatus`."""
    responses: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        key = f"{stage}-{len(responses)}"
        scenario.open_gate(key)
        body = {
            "pipelineId": scenario.release.pipeline_id,
            "input": {"folder": str(scenario.folder_of(key))},
            "idempotencyKey": f"{scenario.folder.name}-{key}",
        }
        response = scenario.cluster.post("executions", body)
        responses.append({"httpStatus": response.status_code, **response.json()})
        time.sleep(pause)
    return responses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180, help="how long the outage lasts")
    parser.add_argument("--fault", choices=["down", "full"], default="down")
    parser.add_argument("--rate", type=float, default=10, help="submissions per second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder))
        cluster.product.environment.update(ORDINARY_SETTINGS)
        try:
            cluster.set_up()
            release = build("gated:pipeline", PIPELINES / "gated", Path(folder) / "gated", "1.0")
            cluster.activate(WORKER, release, concurrency=8)
            (Path(folder) / "run").mkdir()
            run(Scenario(cluster, release, Path(folder) / "run"), options.fault, options.seconds, 1 / options.rate)
        finally:
            cluster.tear_down()


def run(scenario: Scenario, fault: str, seconds: float, pause: float) -> None:
    stages = {"before": submit_for(scenario, "before", 10, pause=pause)}
    with outage(scenario.cluster, fault):
        stages["during"] = submit_for(scenario, "during", seconds, pause=pause)
    restored_at = time.monotonic()
    stages["after"] = submit_for(scenario, "after", 60, pause=pause)
    for stage, responses in stages.items():
        statuses = Counter(response["httpStatus"] for response in responses)
        delayed = sum(response.get("dispatchDelayed", False) for response in responses)
        print(f"{stage}: {len(responses)} submissions, by status {dict(statuses)}, {delayed} reported as delayed")
    eventually(lambda: scenario.cluster.live_executions() == 0, seconds=300, what="the end of every execution")
    print(f"all ended {time.monotonic() - restored_at:.0f} s after the broker was restored")
    print(f"members that ended: {scenario.cluster.ended_members()}")
    with scenario.cluster.connect() as connection:
        found = histories(connection, pipeline_id=scenario.release.pipeline_id)
    print(f"{len(found)} executions, by status {dict(Counter(history.status for history in found))}")
    claims = Counter(history.count("CLAIMED") for history in found)
    print(f"executions by number of claims: {dict(sorted(claims.items()))}")


if __name__ == "__main__":
    main()
