"""Who sees payloads: inputs, results, checkpoints, questions, answers, messages and tracebacks of errors."""

import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse
from rest_framework.test import APIClient

from executions.admin import curl
from executions.lifecycle import outcome
from executions.models import Execution
from releases.models import Pipeline
from tenancy.access import issue_token
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.admin.test_who_may_open_what import PAGES
from tests.cases import cases
from wire.messages.celery_messages import OutcomeGroup

READERS = ("operator", "on-call", "release-manager", "tenant-admin", "superuser")
SECRET = "the-secret-payload"
NAMES = ("input", "result", "error", "checkpoint", "request")


def address(of: Execution, name: str) -> str:
    return reverse("admin:executions_execution_payload", args=[of.pk, name])


def page(of: Execution, tab: str) -> str:
    return f"{reverse('admin:executions_execution_change', args=[of.pk])}?tab={tab}"


def failed(world: World, *, retryable: bool = False) -> Execution:
    """Return an execution whose input, error message and traceback contain SECRET."""
    Pipeline.objects.filter(pk=world.release.pipeline_id).update(retry_limit=0)
    made = making.execution(world.tenant, "failed", {"text": SECRET}, pipeline_id="acme.orders")
    for claim in making.claimed(world.tenant):
        if claim.execution_id == made.pk:
            reported = making.failure(claim, "NO_FUNDS", retryable=retryable, message=SECRET, traceback=SECRET)
            outcome.record(world.release.identity, OutcomeGroup(worker_id="w", outcomes=[reported]))
    made.refresh_from_db()
    assert made.status == ("DLQ" if retryable else "FAILED")
    return made


def succeeded(world: World, key: str, value: Any, result: Any) -> Execution:
    made = making.execution(world.tenant, key, value, pipeline_id="acme.orders")
    for claim in making.claimed(world.tenant):
        if claim.execution_id == made.pk:
            done = making.outcome_of(claim, output_payloads=[json.dumps(result)], steps=[(0, 1, 2)])
            outcome.record(world.release.identity, OutcomeGroup(worker_id="w", outcomes=[done]))
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"
    return made


@cases("who", ["viewer", *READERS])
def test_only_readers_of_payloads_see_them_on_the_page(who: str, log_in: LogIn, acme: World) -> None:
    made, client = failed(acme), log_in(who)
    for tab in ("timeline", "payloads", "error", "events", "progress"):
        text = client.get(page(made, tab)).text
        assert "NO_FUNDS" in text
        assert (SECRET in text) == (who in READERS), (who, tab)
        hidden = tab in {"payloads", "error", "events"} and who == "viewer"
        assert ("data-withheld" in text) == hidden
    if who == "viewer":
        text = client.get(page(made, "payloads")).text
        assert "These roles see them: operator, on-call, release manager and tenant admin." in text


@cases("who", ["viewer", *READERS])
def test_only_readers_of_payloads_download_them(who: str, log_in: LogIn, acme: World) -> None:
    made, client = failed(acme), log_in(who)
    got = {name: client.get(address(made, name)) for name in NAMES}
    if who == "viewer":
        assert {answer.status_code for answer in got.values()} == {403}
        assert not [name for name, answer in got.items() if SECRET in answer.text]
        entry = AuditEntry.objects.order_by("-sequence").first()
        assert entry is not None
        assert (entry.outcome, entry.actor) == ("denied", "user:viewer")
        return
    assert {name: answer.status_code for name, answer in got.items()} == {
        **{"input": 200, "error": 200, "request": 200},
        **{"result": 404, "checkpoint": 404},
    }
    assert got["input"].json() == {"text": SECRET}
    assert got["error"].json() == {"code": "NO_FUNDS", "message": SECRET, "traceback": SECRET}
    assert got["input"]["Content-Disposition"] == f'attachment; filename="input-{made.pk}.json"'
    assert got["input"]["Content-Type"] == "application/json"


def test_a_payload_of_another_tenant_is_not_found(log_in: LogIn, acme: World) -> None:
    made = failed(acme)
    for name in NAMES:
        assert log_in("stranger").get(address(made, name)).status_code == 404
    assert log_in("operator").get(address(made, "nothing")).status_code == 404


@cases("name", [name for name, (_, allowed, _) in PAGES.items() if "viewer" in allowed])
def test_no_page_shows_a_payload_to_a_viewer(name: str, log_in: LogIn, acme: World) -> None:
    """The rows that the pages show are made of payloads that contain SECRET."""
    failed(acme, retryable=True)
    operator_rows.question(acme, key="asks", requests=[json.dumps({"text": SECRET})])
    succeeded(acme, "done", {"text": SECRET}, {"text": SECRET})
    answer = log_in("viewer").get(PAGES[name][0](acme))
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
    assert SECRET.encode() not in content


def test_a_question_is_shown_to_those_who_may_answer_it_and_to_readers(log_in: LogIn, acme: World) -> None:
    question = operator_rows.question(acme, requests=[json.dumps({"text": SECRET})])
    shown = reverse("admin:executions_interaction_change", args=[question.pk])
    assert {who for who in ("viewer", *READERS) if SECRET in log_in(who).get(shown).text} == set(READERS)


def test_the_result_and_the_input_are_shown_as_json_that_opens_and_closes(log_in: LogIn, acme: World) -> None:
    made = succeeded(acme, "done", {"items": [{"price": 1.5}]}, {"ok": True})
    text = log_in("operator").get(page(made, "payloads")).text
    assert '<span class="dc-j-key">&quot;price&quot;</span>: <span class="dc-j-number">1.5</span>' in text
    assert '<span class="dc-j-word">true</span>' in text
    assert address(made, "result") in text
    assert log_in("operator").get(address(made, "result")).json() == {"ok": True}


def test_a_large_input_is_cut_on_the_page_and_complete_in_the_download(log_in: LogIn, acme: World) -> None:
    value = {"items": ["x" * 100] * 5_000}
    made = making.execution(acme.tenant, "large", value, pipeline_id="acme.orders")
    answer = log_in("operator").get(page(made, "payloads"))
    assert len(answer.text) < 700_000
    assert "Not all of it is shown" in answer.text
    assert 'id="copy-input"' not in answer.text
    assert "download request.json" in answer.text
    assert "--data-binary @request.json" in answer.text
    assert log_in("operator").get(address(made, "input")).json() == value
    body = log_in("operator").get(address(made, "request")).json()
    assert (body["input"], body["pipelineId"]) == (value, "acme.orders")


# --- curl ---

HARD = {
    "a": 'it\'s "quoted" $(touch pwned) `id` \\ $TOKEN ${HOME} !! \n new line \t tab',
    "b": ["é", "—", "%s", "-x", "'; touch pwned; '"],
}
STUB = '#!/bin/sh\nprintf "%s\\0" "$@" > "$OUT"\n'


def run(command: str, folder: Path) -> list[str]:
    """Run a command in `sh` with a `curl` that stores its arguments. Return them."""
    stub = folder / "curl"
    stub.write_text(STUB)
    stub.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "OUT": str(folder / "out"), "TOKEN": "the token"}
    subprocess.run(["sh", "-eu", "-c", command], env=environment, cwd=folder, check=True)
    assert not (folder / "pwned").exists()
    return (folder / "out").read_text().split("\0")[:-1]


def test_the_command_submits_the_same_input_again(log_in: LogIn, acme: World, tmp_path: Path) -> None:
    made = making.execution(acme.tenant, "hard", HARD, pipeline_id="acme.orders")
    shown = log_in("operator").get(page(made, "payloads"))
    arguments = run(shown.context["curl"]["text"], tmp_path)
    assert arguments[:4] == [
        "--fail-with-body",
        "--request",
        "POST",
        "http://testserver/api/v1/tenants/acme/executions",
    ]
    assert arguments[4:8] == [
        "--header",
        "Authorization: Bearer the token",
        "--header",
        "Content-Type: application/json",
    ]
    assert arguments[8] == "--data-raw"
    body = json.loads(arguments[9])
    assert body.pop("idempotencyKey") != "hard"
    assert body == {"pipelineId": "acme.orders", "input": HARD}


@cases("text", ["", "'", "\\", "$TOKEN", "\n", "@file", "a" * 20_000, "!event", "~", "*"])
def test_the_shell_changes_nothing_but_the_token(text: str, tmp_path: Path) -> None:
    url = "https://example.org/a?b=c&d='e'"
    arguments = run(curl.command(url, text), tmp_path)
    assert (arguments[3], arguments[-2:]) == (url, ["--data-raw", text])


def test_the_api_accepts_the_command(log_in: LogIn, acme: World, tmp_path: Path) -> None:
    owner = User.objects.get(username="tenant-admin-of-acme")
    _, plain = issue_token(acme.tenant, owner, "again", [Scope.SUBMIT], lifetime=None)
    command = log_in("operator").get(page(acme.execution, "payloads")).context["curl"]["text"]
    arguments = run(command, tmp_path)
    client = APIClient(HTTP_AUTHORIZATION=f"Bearer {plain}")
    path = arguments[3].removeprefix("http://testserver")
    answers = [client.generic("POST", path, arguments[-1], content_type="application/json") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    new = Execution.objects.get(pk=uuid.UUID(answers[0].json()["executionId"]))
    assert new.pk != acme.execution.pk
    assert new.input == acme.execution.input


# --- comparison ---


def compared(client: Any, one: Execution, other: object) -> Any:
    return client.get(reverse("admin:executions_execution_compare", args=[one.pk]), {"other": str(other)})


def test_two_executions_are_compared_by_id_or_key(log_in: LogIn, acme: World) -> None:
    one = succeeded(acme, "one", {"n": 1, "same": SECRET}, {"ok": True})
    other = succeeded(acme, "other", {"n": 2, "same": SECRET}, {"ok": False, "why": "<b>"})
    for name in (other.pk, "other", f" {other.pk} "):
        shown = compared(log_in("operator"), one, name)
        assert shown.status_code == 200
        assert shown.context["differences"] == [
            ("input.n", "1", "2"),
            ("result.ok", "true", "false"),
            ("result.why", "(missing)", '"<b>"'),
        ]
        assert "&lt;b&gt;" in shown.text
        assert [name for name, *_ in shown.context["steps"]] == ["Validate"]
    assert "data-equal" in compared(log_in("operator"), one, one.pk).text


def test_a_comparison_hides_payloads_from_viewers(log_in: LogIn, acme: World) -> None:
    one, other = failed(acme), succeeded(acme, "other", {"n": 2}, {"ok": SECRET})
    shown = compared(log_in("viewer"), one, other.pk)
    assert shown.status_code == 200
    assert SECRET not in shown.text
    assert "data-withheld" in shown.text
    assert ("Error", "NO_FUNDS", "-", True) in shown.context["facts"]


def test_no_execution_of_another_tenant_is_compared(log_in: LogIn, acme: World, globex: World) -> None:
    client = log_in("operator")
    for name in (globex.execution.pk, "key-of-globex", "nothing", "x" * 5_000):
        shown = compared(client, acme.execution, name)
        assert shown.status_code == 404
        assert "data-not-found" in shown.text
    assert compared(log_in("stranger"), acme.execution, globex.execution.pk).status_code == 404
