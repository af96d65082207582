"""`pipelines activate`: the pre-flight as a table or JSON, the activation, and the exit statuses."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.cli import main
from tests.unit.pipelines.small_servers import Recorder, Request, Response, serving

REFUSAL = {"code": "WORKER_REQUIRED", "detail": "No worker may run release '2.0'."}
CALLERS = [{"name": "token:shop", "checked": 1, "failing": 1, "examples": []}]
FOUND: dict[str, Any] = {
    "releaseVersion": "2.0",
    "activeReleaseVersion": "1.0",
    "kind": "activation",
    "allowed": False,
    "refusals": [REFUSAL],
    "warnings": [],
    "gates": [{"name": "worker", "verdict": "unmet", "detail": "No worker may run release '2.0'."}],
    "workers": {"eligible": 0, "capacity": 0},
    "load": {"running": 3, "due": 4, "pinned": 0, "submissionsPerMinute": 1.5},
    "remaining": {"blockers": [{"kind": "QUEUED", "count": 5}], "openQuestions": 6},
    "callers": {"since": "2026-11-19T12:00:00Z", "count": 2, "checked": 2, "failing": 1, "callers": CALLERS},
    "differences": [{"impact": "breaking-for-callers"}, {"impact": "compatible"}],
}
MADE = {"sequence": 7, "releaseVersion": "2.0", "previousReleaseVersion": "1.0", "kind": "activation", "reason": "why"}


class Coordinator(Recorder):
    """Answers every request with `answer`."""

    answer: tuple[int, dict[str, Any]] = (200, {})

    def respond(self, request: Request) -> Response:
        status, document = self.answer
        return Response(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Coordinator]:
    made = Coordinator()
    with serving(made):
        monkeypatch.setenv("PIPELINES_TOKEN", "dc_token")
        monkeypatch.setenv("PIPELINES_URL", made.url)
        monkeypatch.setenv("PIPELINES_TENANT", "acme")
        yield made


def run(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    status = main(["activate", "org.acme.orders", "2.0", *options])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_dry_run_prints_the_preflight_and_activates_nothing(
    coordinator: Coordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator.answer = (200, FOUND)
    status, out, err = run(capsys, "--dry-run")
    assert (status, err) == (3, "")
    [request] = coordinator.requests
    address = "/api/v1/tenants/acme/pipelines/org.acme.orders/releases/2.0/preflight"
    assert (request.method, request.path, request.body) == ("GET", address, b"")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert (lines["replaces"], lines["allowed"], lines["workers"]) == ("1.0", "no", "0 with room for 0")
    assert "refused: WORKER_REQUIRED: No worker may run release '2.0'." in out
    assert "token:shop: 1 of 1 inputs would be refused" in out


def test_an_activation_sends_the_reason_and_the_expected_release(
    coordinator: Coordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    coordinator.answer = (201, MADE)
    status, out, err = run(capsys, "--reason", "why", "--expected", "1.0")
    assert (status, err) == (0, "")
    assert "#7" in out
    [request] = coordinator.requests
    assert (request.method, request.path) == ("POST", "/api/v1/tenants/acme/pipelines/org.acme.orders/activations")
    body = json.loads(request.body)
    assert len(body.pop("operationKey")) == 32
    assert body == {"releaseVersion": "2.0", "reason": "why", "expectedReleaseVersion": "1.0"}
    assert json.loads(run(capsys, "--json")[1]) == MADE


def test_a_refusal_and_a_mistake_have_different_exit_statuses(
    coordinator: Coordinator, capsys: pytest.CaptureFixture[str]
) -> None:
    for answer, status in ((409, 3), (422, 3), (403, 2), (503, 2)):
        coordinator.answer = (answer, REFUSAL)
        error = f"error: COORDINATOR_REFUSED: {answer} WORKER_REQUIRED No worker may run release '2.0'.\n"
        assert run(capsys) == (status, "", error)
    coordinator.answer = (200, {**FOUND, "allowed": True})
    status, out, _ = run(capsys, "--dry-run", "--json")
    assert (status, json.loads(out)["allowed"]) == (0, True)
    _, _, opening, *_, closing = run(capsys, "--dry-run", "--markdown")[1].splitlines()
    assert (opening, closing) == ("```text", "```")
    coordinator.answer = (200, {**FOUND, "refusals": [{"code": "X", "detail": "\n````\n@everyone"}]})
    assert run(capsys, "--dry-run", "--markdown")[1].splitlines()[-1] == "`````"
