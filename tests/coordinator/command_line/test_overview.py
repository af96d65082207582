"""Answers that depend on what a coordinator of another version offers."""

from pathlib import Path
from typing import Any

import pytest

from tests.command_line import CommandLine
from tests.serving import serving

PLANNED = {
    "pipelineId": "p",
    "contractVersion": "c",
    "releaseVersion": "1.0",
    "reasons": ["active"],
    "workers": 2,
    "liveWorkers": 2,
    "mayGo": False,
}


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, {"COORDINATOR_TENANT": "acme", "COORDINATOR_TOKEN": "t"})


def test_the_plan_of_workers(run: CommandLine) -> None:
    with serving({"items": [PLANNED]}) as server:
        planned = run("workers", "plan", f"--url={server.url}")
    assert (planned.status, planned.out.splitlines()[1].split()) == (0, ["p", "1.0", "c", "2", "2", "no", "active"])
    with serving({"items": [{**PLANNED, "liveWorkers": 1}]}) as server:
        assert run("workers", "plan", f"--url={server.url}").status == 1
    assert [each.path for each in server.requests] == ["/api/v1/tenants/acme/worker-plan"]


def test_the_status_names_missing_processes(run: CommandLine) -> None:
    nothing: dict[str, Any] = {"items": [], "next": None}
    health = {"status": "UP", "database": "UP"}
    for missing, expected in (([], 0), (["clock"], 1)):
        reported = {"missing": missing, "pendingMigrations": []}
        with serving(health, nothing, nothing, reported, nothing, nothing) as server:
            done = run("status", f"--url={server.url}")
        assert (done.status, "processes.missing" in done.out) == (expected, True), done
        assert "Authorization" not in server.requests[0].headers
