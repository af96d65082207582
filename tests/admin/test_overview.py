import csv
import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from executions.console.payloads import curl_command
from executions.models import Campaign, CampaignItem, Execution, Interaction, SearchValue
from releases.models import Blob, Pipeline, Release
from releases.registration.verification import verify_release
from tenancy.models import AuditEntry, Membership
from tests import making, requesting
from tests.admin import operator_rows
from tests.admin.browsing import MARKUP, at, to
from tests.admin.conftest import LogIn, World
from tests.admin.pages import READERS
from tests.alerts.alerting import of_failures, rule
from tests.cases import cases
from tests.raw_sql import unguarded
from wire.messages.celery_messages import Outcome, StepReport


def shown(client: Client) -> dict[str, tuple[int, str]]:
    return {item.key: (item.count, item.address) for item in client.get(to("index")).context["attention"]}


def stranded(world: World) -> None:
    making.execution(world.tenant, "waits", pipeline_id=operator_rows.pipeline_of(world))
    making.execution(world.tenant, "waits too", pipeline_id=operator_rows.pipeline_of(world))
    making.silence(world.worker)


def approvals(world: World) -> None:
    release = making.registered(world.tenant, pipeline_id=f"{world.tenant.slug}.asked")
    Pipeline.objects.filter(pk=release.pipeline_id).update(approvals=2)
    requesting.open_request(release)


def rejected(world: World) -> None:
    document = making.contract(f"{world.tenant.slug}.rejected")
    data = making.archive(document)
    for version in ("1.0", "2.0"):
        verify_release(making.upload(world.tenant, making.descriptor(document, data, version), b"stray").release.pk)
    making.verified(making.upload(world.tenant, making.descriptor(document, data, "2.0"), data).release)


def artifacts(world: World) -> None:
    digests = list(world.release.artifacts.values_list("digest", flat=True))
    Blob.objects.filter(digest__in=digests).update(state=Blob.State.DAMAGED)


def questions(world: World) -> None:
    question = operator_rows.question(world)
    Interaction.objects.filter(pk=question.pk).update(deadline=timezone.now() + timedelta(minutes=30))


def alerts(world: World) -> None:
    operator_rows.dead(world, "fails")
    of_failures(rule(world.tenant))


@cases("make", alerts, stranded, approvals, rejected, artifacts, questions)
def test_an_item_links_to_exactly_the_rows_that_it_counts(
    make: Callable[[World], None], log_in: LogIn, viewer: Client, acme: World, globex: World
) -> None:
    for world in (acme, globex):
        make(world)
    everything = log_in("superuser")
    (few, address_of_few), (many, address) = (shown(client)[make.__name__] for client in (viewer, everything))
    assert 0 < few == len(at(viewer, address_of_few)) < many == len(at(everything, address))


def test_incidents_rank_by_active_release_and_then_by_failure_rate(viewer: Client, acme: World) -> None:
    operator_rows.dead(acme, "old-1", "old-2")
    making.active(acme.tenant, "2.0", pipeline_id="acme.orders")
    making.worker(Release.objects.get(release_version="2.0"), "worker-2")
    operator_rows.dead(acme, "new-1")
    page = viewer.get(to("index"))
    assert [(row.release.release_version, row.count) for row in page.context["failing"]] == [("2.0", 1), ("1.0", 2)]
    assert page.text.index(">active</span>") > page.text.index("acme.orders 2.0</a>")
    assert {layer.name for layer in page.context["panels"][0].finished.layers} == {"2.0 (active)", "1.0"}


LIST = "executions_execution_changelist"


@pytest.fixture
def failed(acme: World) -> Execution:
    [made] = operator_rows.dead(acme, "order-17", code="NO_FUNDS", message=MARKUP)
    return made


def export(client: Client, form: str = "csv", **query: Any) -> Any:
    return client.get(to("executions_execution_export", form), query)


def test_an_export_has_only_what_the_list_shows(log_in: LogIn, viewer: Client, acme: World, failed: Execution) -> None:
    response = export(viewer, columns="id,key,error", status="failed")
    lines = list(csv.reader(StringIO(response.getvalue().decode())))
    assert lines == [["id", "key", "error"], [str(failed.pk), "order-17", "NO_FUNDS"]]
    text = export(viewer, "ndjson", columns="id", q="order-").getvalue().decode()
    assert text == f'{{"id":"{failed.pk}"}}\n'
    stranger = log_in("stranger")
    assert "acme" not in export(stranger).getvalue().decode()
    assert export(viewer, step="0")["Location"] == f"{to(LIST)}?step=0"


def test_values_of_the_input_are_found_and_shown_in_list_page_and_export(viewer: Client, failed: Execution) -> None:
    with unguarded(SearchValue), unguarded(Release):
        Release.objects.filter(pk=failed.release_id).update(declarations={"search": {"customer": "customer"}})
        SearchValue.objects.create(execution=failed, pipeline=failed.release.pipeline, name="customer", text="c-17<b>")
    query = {"columns": "key,search.customer", "search.customer": "c-17<b>"}
    for page in (viewer.get(to(LIST), query), viewer.get(to("executions_execution_change", failed.pk))):
        assert "c-17&lt;b&gt;" in page.content.decode()
    lines = list(csv.reader(StringIO(export(viewer, **query).getvalue().decode())))
    assert lines == [["id", "key", "search.customer"], [str(failed.pk), "order-17", "c-17<b>"]]
    assert viewer.get(to(LIST), {"search.customer": "c-18"}).context["cl"].result_list == []
    assert viewer.get(to(LIST), {"search.nobody": "1"}).status_code == 400


@pytest.fixture
def dead(acme: World) -> list[Execution]:
    return operator_rows.dead(acme, "order-1", "order-2", "other-3")


def act(client: Client, kind: str, query: str = "", **fields: Any) -> Any:
    return client.post(f"{to('executions_execution_act', kind)}?{query}", fields)


def items(campaign: Campaign) -> set[Any]:
    return set(CampaignItem.objects.filter(campaign=campaign).values_list("execution", flat=True))


def drafted(response: Any) -> Campaign:
    campaign = Campaign.objects.get(status="DRAFT")
    assert response["Location"] == to("executions_campaign_change", campaign)
    return campaign


def test_all_that_match_now_become_a_draft(log_in: LogIn, operator: Client, acme: World, dead: list[Execution]) -> None:
    shown = operator.get(to(LIST), {"q": "order-"}, follow=True).text
    assert f"{to('executions_execution_act', 'redrive')}?q=order-" in shown
    assert act(log_in("viewer"), "redrive", "status=failed", rows="all").status_code == 403
    draft = drafted(act(operator, "redrive", "status=failed&q=order-", rows="all", execution=[dead[2].pk]))
    operator_rows.dead(acme, "order-4")
    assert items(draft) == {dead[0].pk, dead[1].pk}


def test_a_campaign_has_one_tenant_of_the_operator(log_in: LogIn, operator: Client, acme: World, globex: World) -> None:
    client = log_in("superuser")
    for fields in ({"rows": "all"}, {"execution": [acme.execution.pk, globex.execution.pk]}):
        response = act(client, "cancel", **fields)
        assert "Filter by tenant first" in client.get(response["Location"]).text
    Membership.objects.create(user_id=operator.session["_auth_user_id"], tenant=globex.tenant, role="viewer")
    assert act(operator, "cancel", execution=[globex.execution.pk]).status_code == 403
    assert act(operator, "cancel", "tenant=globex", rows="all").status_code == 403
    assert not Campaign.objects.exists()
    assert items(drafted(act(client, "cancel", "tenant=globex", rows="all"))) == {globex.execution.pk}


SECRET = "the-secret-payload"
NAMES = ("input", "result", "error", "checkpoint", "request")
TABS = ("timeline", "payloads", "error", "logs", "events", "progress")


def address(execution: Execution, name: str) -> str:
    return to("executions_execution_payload", execution, name)


def page(execution: Execution, tab: str = "payloads") -> str:
    return f"{to('executions_execution_change', execution)}?tab={tab}"


def ended(world: World, key: str, value: Any, result: Any = ...) -> Execution:
    """Return an execution that ended with the result, or failed with an error that contains SECRET."""
    made = making.execution(world.tenant, key, value, pipeline_id="acme.orders")
    [claim] = [claim for claim in making.claimed(world.tenant) if claim.execution_id == made.pk]
    done: Outcome = making.failure(claim, "NO_FUNDS", retryable=False, message=SECRET, traceback=SECRET)
    if result is not ...:
        done = making.outcome_of(claim, output_payloads=[json.dumps(result)], steps=[(0, 1, 2)])
    said = StepReport(done=1, total=2, message=SECRET, lines=[(1, "INFO", 0, None, SECRET)])
    making.record(done.model_copy(update={"report": said}))
    made.refresh_from_db()
    assert made.status == ("FAILED" if result is ... else "SUCCEEDED")
    return made


def test_only_readers_of_payloads_see_them_on_the_page(log_in: LogIn, acme: World) -> None:
    made, question = ended(acme, "failed", {"text": SECRET}), operator_rows.question(acme, requests=[f'"{SECRET}"'])
    for who in ("viewer", "operator"):
        client, reads = log_in(who), who in READERS
        for tab in TABS:
            text = client.get(page(made, tab)).text
            assert "NO_<wbr>FUNDS" in text
            assert (SECRET in text) == reads, (who, tab)
            assert ("data-withheld" in text) == (not reads and tab in {"payloads", "error", "logs", "events"})
        letter = client.get(to("executions_deadletter_change", made.dead_letters.get())).text
        interaction = client.get(to("executions_interaction_change", question)).text
        assert [SECRET in letter, SECRET in interaction] == [reads] * 2


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
    arguments = run(curl_command(url, text), tmp_path)
    assert (arguments[3], arguments[-2:]) == (url, ["--data-raw", text])


def compared(client: Client, execution: Execution, other: object) -> Any:
    return client.get(to("executions_execution_compare", execution), {"other": str(other)})


def test_executions_of_the_tenant_are_compared(log_in: LogIn, operator: Client, acme: World, globex: World) -> None:
    first = ended(acme, "one", {"n": 1, "same": SECRET}, {"ok": True})
    other = ended(acme, "other", {"n": 2, "same": SECRET}, {"ok": False, "why": "<b>"})
    for name in (other.pk, "other"):
        differences = [("input.n", "1", "2"), ("result.ok", "true", "false"), ("result.why", "(missing)", '"<b>"')]
        assert compared(operator, first, name).context["differences"] == differences
    shown = compared(log_in("viewer"), ended(acme, "failed", {"text": SECRET}), first.pk)
    assert SECRET not in shown.text
    for unknown in (globex.execution.pk, "key-of-globex", "x" * 5_000):
        shown = compared(operator, first, unknown)
        assert (shown.status_code, "data-not-found" in shown.text) == (404, True)
