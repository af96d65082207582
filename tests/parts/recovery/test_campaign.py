"""A short campaign in every test run. `make recovery` runs long ones."""

import os
import secrets
from pathlib import Path

from tests.parts.recovery.campaign import Campaign, Plan
from tests.parts.recovery.cluster import Cluster

EXECUTIONS = 30


def test_no_execution_is_lost_or_run_twice_when_processes_are_killed(cluster: Cluster, tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED") or secrets.randbelow(1_000_000))
    report = Campaign(Plan(seed, EXECUTIONS, kills=8, unfinished_share=1.0), cluster, tmp_path).run()
    print(report)
    assert report.faults == [], str(report)
    assert len(report.histories) == EXECUTIONS, str(report)
    assert {history.pin[2] for history in report.histories} == {"v1", "v2", "h1"}
