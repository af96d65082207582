"""`pipelines activate`: the activation and the exit statuses."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.cli import main
from tests.unit.pipelines.small_servers import Recorder, Request, Response, serving

REFUSAL = {"code": "WORKER_REQUIRED", "detail": "No worker may run release '2.0'."}
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
