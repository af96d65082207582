"""Who sees payloads on the pages of an execution, its downloads, the curl command, and the comparison of two."""

import json
import subprocess
from pathlib import Path
from typing import Any

from django.test import Client

from executions.admin import curl
from executions.models import Execution
from tenancy.models import AuditEntry
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.admin.pages import READERS
from tests.cases import cases
from wire.messages.celery_messages import Outcome

SECRET = "the-secret-payload"
NAMES = ("input", "result", "error", "checkpoint", "request")
TABS = ("timeline", "payloads", "error", "events", "progress")


def address(of: Execution, name: str) -> str:
    return to("executions_execution_payload", of, name)


def page(of: Execution, tab: str = "payloads") -> str:
    return f"{to('executions_execution_change', of)}?tab={tab}"


def ended(world: World, key: str, value: Any, result: Any = ...) -> Execution:
    """Return an execution that ended with the result, or failed with an error that contains SECRET."""
    made = making.execution(world.tenant, key, value, pipeline_id="acme.orders")
    [claim] = [each for each in making.claimed(world.tenant) if each.execution_id == made.pk]
    done: Outcome = making.failure(claim, "NO_FUNDS", retryable=False, message=SECRET, traceback=SECRET)
    if result is not ...:
        done = making.outcome_of(claim, output_payloads=[json.dumps(result)], steps=[(0, 1, 2)])
    making.record(done)
    made.refresh_from_db()
    assert made.status == ("FAILED" if result is ... else "SUCCEEDED")
    return made


def test_only_readers_of_payloads_see_them_on_the_page(log_in: LogIn, acme: World) -> None:
    made, question = ended(acme, "failed", {"text": SECRET}), operator_rows.question(acme, requests=[f'"{SECRET}"'])
    for who in ("viewer", "operator"):
        client, reads = log_in(who), who in READERS
        for tab in TABS:
            text = client.get(page(made, tab)).text
            assert "NO_FUNDS" in text
            assert (SECRET in text) == reads, (who, tab)
            assert ("data-withheld" in text) == (not reads and tab in {"payloads", "error", "events"})
        letter = client.get(to("executions_deadletter_change", made.dead_letters.get())).text
        asked = client.get(to("executions_interaction_change", question)).text
        assert [SECRET in letter, SECRET in asked] == [reads] * 2


def test_only_readers_of_payloads_download_them(log_in: LogIn, acme: World) -> None:
    made = ended(acme, "failed", {"text": SECRET})
    for who in ("viewer", "operator"):
        client = log_in(who)
        got = {name: client.get(address(made, name)) for name in NAMES}
        if who not in READERS:
            assert {answer.status_code for answer in got.values()} == {403}
            assert not [name for name, answer in got.items() if SECRET in answer.text]
            entry = AuditEntry.objects.order_by("-id")[0]
            assert (entry.outcome, entry.actor) == ("denied", "user:viewer")
            continue
        statuses = {name: answer.status_code for name, answer in got.items()}
        assert statuses == {"input": 200, "error": 200, "request": 200, "result": 404, "checkpoint": 404}
        assert got["input"].json() == {"text": SECRET}
        assert got["error"].json() == {"code": "NO_FUNDS", "message": SECRET, "traceback": SECRET}
        assert got["input"]["Content-Disposition"].startswith("attachment")
    for name in NAMES:
        assert log_in("stranger").get(address(made, name)).status_code == 404


# --- curl ---

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


@cases("text", ["", "'", "\\", "$TOKEN", "\n", "@file"])
def test_the_shell_changes_nothing_but_the_token(text: str, tmp_path: Path) -> None:
    url = "https://example.org/a?b=c&d='e'"
    arguments = run(curl.command(url, text), tmp_path)
    assert (arguments[3], arguments[-2:]) == (url, ["--data-raw", text])


# --- comparison ---


def compared(client: Client, one: Execution, other: object) -> Any:
    return client.get(to("executions_execution_compare", one), {"other": str(other)})


def test_two_executions_of_the_tenant_are_compared_by_id_or_key(
    log_in: LogIn, operator: Client, acme: World, globex: World
) -> None:
    one = ended(acme, "one", {"n": 1, "same": SECRET}, {"ok": True})
    other = ended(acme, "other", {"n": 2, "same": SECRET}, {"ok": False, "why": "<b>"})
    for name in (other.pk, "other"):
        differences = [("input.n", "1", "2"), ("result.ok", "true", "false"), ("result.why", "(missing)", '"<b>"')]
        assert compared(operator, one, name).context["differences"] == differences
    shown = compared(log_in("viewer"), ended(acme, "failed", {"text": SECRET}), one.pk)
    assert SECRET not in shown.text
    for unknown in (globex.execution.pk, "key-of-globex", "x" * 5_000):
        shown = compared(operator, one, unknown)
        assert (shown.status_code, "data-not-found" in shown.text) == (404, True)
