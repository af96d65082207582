"""Questions: the list of open ones, the page of one, and the form that answers it."""

from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.models import Execution, Interaction, Worker
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import run

HOSTILE = '</pre></textarea><script>alert("x")</script>'
LIST = "admin:executions_interaction_changelist"


def page(of: Interaction) -> str:
    return reverse("admin:executions_interaction_change", args=[of.pk])


def answer(client: Client, of: Interaction, text: str) -> Any:
    return client.post(reverse("admin:executions_interaction_answer", args=[of.pk]), {"response": text}, follow=True)


def test_an_answer_resumes_the_execution_and_is_stored_with_its_actor(log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme, assignee="eva", group="finance")
    client = log_in("operator")
    shown = client.get(page(interaction)).text
    for text in (
        "eva",
        "finance",
        "Waits for an answer until",
        str(interaction.execution_id),
        acme.release.contract_version,
    ):
        assert text in shown
    assert "&quot;n&quot;: 1" in shown
    response = answer(client, interaction, '{"n": 2}').text
    assert "Your answer was accepted" in response
    assert 'id="answer-form"' not in response
    interaction.refresh_from_db()
    assert (interaction.status, interaction.response, interaction.actor) == ("COMPLETED", {"n": 2}, "user:operator")
    assert Execution.objects.get(pk=interaction.execution_id).status == "QUEUED"


def test_a_repeated_answer_shows_the_first_one_with_its_actor(log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme)
    answer(log_in("tenant-admin"), interaction, '{"n": 2}')
    shown = answer(log_in("operator"), interaction, '{"n": 3}').text
    assert "user:tenant-admin-of-acme answered first" in shown
    assert "&quot;n&quot;: 2" in shown
    assert "&quot;n&quot;: 3" not in shown
    interaction.refresh_from_db()
    assert interaction.response == {"n": 2}


@cases(
    ("draft", "problem"),
    [
        ('{"n": ', "line 1 column 7"),
        ("yes", "DOCUMENT_NOT_JSON"),
        ('1, "x": 2', "must be one JSON value"),
        ('{"n": 1, "n": 2}', "response.n"),
        ("NaN", "DOCUMENT_NUMBER_OUT_OF_RANGE"),
        ('"\\u0000"', "DOCUMENT_BAD_CHARACTER"),
        ("", "DOCUMENT_NOT_JSON"),
        (HOSTILE, "DOCUMENT_NOT_JSON"),
    ],
)
def test_invalid_json_is_rejected_and_stays_in_the_form(draft: str, problem: str, log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme)
    refused = answer(log_in("operator"), interaction, draft)
    assert refused.status_code == 400
    assert problem in refused.text
    assert refused.context["draft"] == draft
    assert "<script>alert(" not in refused.text
    interaction.refresh_from_db()
    assert interaction.status == "DISPATCHED"


def test_an_answer_of_the_wrong_type_is_rejected_with_its_field_and_rule(log_in: LogIn, db: None) -> None:
    owner = making.tenant()
    decision = {
        "id": "Decision",
        "kind": "record",
        "fields": [{"name": "ok", "type": {"kind": "scalar", "id": "boolean"}}],
    }
    types = {"Decision": {"definition": decision, "definitionFingerprint": "", "runtimeClass": "Decision"}}
    release = making.active(owner, canonicalTypes=types)
    world = World(owner, release, making.worker(release), making.execution(owner, "first"), None, "")  # type: ignore[arg-type]
    interaction = operator_rows.question(world, output_type="Decision")
    refused = answer(log_in("superuser"), interaction, '{"ok": "perhaps"}')
    assert refused.status_code == 422
    assert "ANSWER_TYPE" in refused.text
    assert "response.ok" in refused.text
    assert "{&quot;ok&quot;: &quot;perhaps&quot;}</textarea>" in refused.text
    assert "&quot;kind&quot;: &quot;record&quot;" in refused.text
    assert answer(log_in("superuser"), interaction, '{"ok": true}').status_code == 200


def test_an_answer_after_the_deadline_fails_the_execution_and_stays_on_the_page(log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme)
    run("UPDATE executions_interaction SET deadline = now() - interval '1 second' WHERE id = %s", interaction.pk)
    refused = answer(log_in("operator"), interaction, '{"n": 2}')
    assert refused.status_code == 409
    assert "AWAIT_TIMEOUT" in refused.text
    assert "data-draft" in refused.text
    assert 'id="answer-form"' not in refused.text
    assert Execution.objects.get(pk=interaction.execution_id).status == "FAILED"


def test_a_timer_cannot_be_answered(log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme, transport="timer")
    client = log_in("operator")
    assert 'id="answer-form"' not in client.get(page(interaction)).text
    assert answer(client, interaction, '{"n": 2}').status_code == 409
    assert list(client.get(reverse(LIST)).context["cl"].result_list) == []
    assert list(client.get(reverse(LIST), {"status": "all"}).context["cl"].result_list) == [interaction]


@cases("who", ["viewer", "release-manager", "stranger", "nobody"])
def test_a_user_who_may_not_answer_changes_nothing(who: str, log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme)
    refused = answer(log_in(who), interaction, '{"n": 2}')
    assert refused.status_code == (403 if who in {"viewer", "release-manager"} else 404)
    interaction.refresh_from_db()
    assert (interaction.status, interaction.response) == ("DISPATCHED", None)
    shown = log_in("viewer").get(page(interaction)).text
    assert 'id="answer-form"' not in shown
    assert "Your role in this tenant may not answer" in shown


def test_an_answer_requires_a_csrf_token_and_a_post_request(log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme)
    address = reverse("admin:executions_interaction_answer", args=[interaction.pk])
    assert log_in("operator", enforce_csrf_checks=True).post(address, {"response": "1"}).status_code == 403
    assert log_in("operator").get(address, {"response": "1"}).status_code == 302
    interaction.refresh_from_db()
    assert interaction.status == "DISPATCHED"


def test_external_text_is_escaped(log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(
        acme,
        request=f'{{"html": "{HOSTILE.replace(chr(34), chr(39))}"}}',
        step_id=HOSTILE,
        assignee=HOSTILE,
        group=HOSTILE,
    )
    client = log_in("operator")
    addresses = (
        page(interaction),
        reverse(LIST),
        reverse("admin:executions_execution_change", args=[interaction.execution_id]),
    )
    for address in addresses:
        shown = client.get(address)
        assert shown.status_code == 200
        assert "<script>alert(" not in shown.text
        assert "&lt;script&gt;alert(" in shown.text


@cases(
    ("query", "found"),
    [
        ("", True),
        ("assignee=eva", True),
        ("assignee=ev", False),
        ("group=finance", True),
        ("group=sales", False),
        ("transport=interaction-api", True),
        ("transport=webhook", False),
        ("status=COMPLETED", False),
        ("status=DISPATCHED", True),
        ("deadline=hour", True),
        ("deadline=passed", False),
        ("pipeline=acme.orders", True),
    ],
)
def test_the_list_is_filtered(query: str, found: bool, log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme, assignee="eva", group="finance")
    shown = log_in("viewer").get(f"{reverse(LIST)}?{query}")
    assert list(shown.context["cl"].result_list) == ([interaction] if found else [])
    assert '<option value="eva">' in shown.text


def test_a_question_is_found_by_any_of_its_ids(log_in: LogIn, acme: World) -> None:
    interaction = operator_rows.question(acme)
    answer(log_in("operator"), interaction, '{"n": 2}')
    for name in (interaction.pk, interaction.execution_id, interaction.correlation_id):
        [found] = log_in("viewer").get(reverse(LIST), {"q": str(name)}).context["cl"].result_list
        assert found == interaction
        assert list(log_in("stranger").get(reverse(LIST), {"q": str(name)}).context["cl"].result_list) == []


def test_the_number_of_queries_is_independent_of_the_number_of_questions(log_in: LogIn, acme: World) -> None:
    Worker.objects.update(capacity=100)
    client = log_in("operator")
    itemized = {"itemized": True, "request_shape": "MULTI"}
    one = operator_rows.question(acme, "one", requests=['{"n": 1}'], **itemized)
    addresses = [reverse(LIST), reverse("admin:index"), reverse("admin:executions_execution_change", args=["{}"])]

    def query_count(address: str, of: Interaction) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address.replace("%7B%7D", str(of.execution_id))).status_code == 200
        statements = [query["sql"] for query in queries if "executions_interaction" in query["sql"]]
        assert not [sql for sql in statements if "COUNT(" in sql and "LIMIT" not in sql]
        return len(queries)

    before = [query_count(address, one) for address in addresses]
    many = operator_rows.question(acme, "many", requests=[f'{{"n": {number}}}' for number in range(15)], **itemized)
    assert [query_count(address, many) for address in addresses] == before
    assert len(client.get(reverse(LIST)).context["cl"].result_list) == 16


def test_open_questions_are_counted_in_the_navigation_and_on_the_overview(log_in: LogIn, acme: World) -> None:
    operator_rows.question(acme)
    shown = log_in("operator").get(reverse("admin:index"))
    assert shown.context["waiting_count"] == 1
    [running] = [group for group in shown.context["sidebar_navigation"] if group["title"] == "Executions"]
    [entry] = [each for each in running["items"] if each["title"] == "Waiting for answers"]
    assert entry["badge"] == "1"
    watching = log_in("viewer").get(reverse("admin:index")).context["sidebar_navigation"]
    assert "badge" not in [each for group in watching for each in group["items"]][4]
    assert log_in("stranger").get(reverse("admin:index")).context["waiting_count"] == 0
