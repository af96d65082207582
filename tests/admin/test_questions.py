"""The page of a question: the generated form, readable fields, claims, and the decision record."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.awaits import claims
from executions.models import Interaction, InteractionEvent
from tests import making
from tests.admin import operator_rows
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import run, unguarded

LIST = "admin:executions_interaction_changelist"
HOSTILE = '"><script>alert("x")</script>'


def scalar(name: str) -> dict[str, str]:
    return {"kind": "scalar", "id": name}


def field(name: str, kind: Any, **more: bool) -> dict[str, Any]:
    return {"name": name, "type": kind if isinstance(kind, dict) else scalar(kind), **more}


def record(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "record", "fields": list(fields)}


def named(name: str) -> dict[str, str]:
    return {"kind": "named", "id": name}


DEFINITIONS: dict[str, dict[str, Any]] = {
    "Claim": record(
        field("claimId", "string"),
        field("customerName", "string"),
        field("amount", "decimal"),
        field("lines", named("Line"), repeated=True),
    ),
    "Line": record(field("sku", "string"), field("price", "decimal")),
    "Reason": {"kind": "wrapper", "wraps": scalar("string"), "pattern": "^(?:fraud|late|other)$"},
    "Decision": record(
        field("approved", "boolean"),
        field("amount", "decimal"),
        field("reason", named("Reason"), optional=True),
        field("tags", "string", repeated=True),
    ),
}
TYPES = {
    name: {"definition": {"id": name, **definition}, "definitionFingerprint": "", "runtimeClass": name}
    for name, definition in DEFINITIONS.items()
}
STEPS = [
    making.STEP,
    {
        **making.STEP,
        "index": 1,
        "kind": "await",
        "authoredName": "Approve claim",
        "inputTypeId": "Claim",
        "outputTypeId": "Decision",
    },
]
REQUEST = '{"claimId": "c-7", "customerName": "Ann", "amount": "10.50", "lines": [{"sku": "a", "price": "1.00"}]}'
APPROVED = {"answer.approved": "true", "answer.amount": "10.50", "answer.tags:items": "", "do": "answer"}


def with_claims(acme: World) -> World:
    """Return the tenant with a pipeline that asks for decisions on claims."""
    release = making.active(acme.tenant, pipeline_id="acme.claims", canonicalTypes=TYPES, steps=STEPS)
    worker = making.worker(release, "worker-of-claims", capacity=100)
    return World(acme.tenant, release, worker, acme.execution, acme.token, acme.plain_token)


@pytest.fixture
def world(acme: World) -> World:
    return with_claims(acme)


def ask(world: World, key: str = "asks", **members: Any) -> Interaction:
    members = {
        "step_index": 1,
        "step_id": "ProcessApproveClaimService",
        "output_type": "Decision",
        "request": REQUEST,
        **members,
    }
    return operator_rows.question(world, key, **members)


def page(client: Client, of: Interaction) -> Any:
    return client.get(reverse("admin:executions_interaction_change", args=[of.pk]))


def post(client: Client, of: Interaction, act: str, **fields: str) -> Any:
    return client.post(reverse(f"admin:executions_interaction_{act}", args=[of.pk]), fields, follow=True)


def answer(client: Client, of: Interaction, **fields: str) -> Any:
    return post(client, of, "answer", **{**APPROVED, **fields})


def kinds(of: Interaction) -> list[tuple[str, str]]:
    return [(event.kind, event.actor) for event in InteractionEvent.objects.filter(interaction=of).order_by("sequence")]


# --- the form -------------------------------------------------------------------------------------


def test_the_page_shows_the_request_as_fields_beside_a_form_of_the_contracts_type(log_in: LogIn, world: World) -> None:
    shown = page(log_in("operator"), ask(world)).text
    for text in (
        "Approve claim of acme.claims",
        "Customer name",
        "Ann",
        '<th scope="col">Sku</th>',
        "Approved",
        "Not given",
    ):
        assert text in shown
    assert 'name="answer.amount" value="10.50"' in shown
    assert "Values that the request contains are filled in" in shown
    assert shown.index("JSON of the request") > shown.index("Customer name")


def test_an_answer_by_the_form_is_stored_with_its_note_and_shown_as_a_decision(log_in: LogIn, world: World) -> None:
    one = ask(world)
    fields = {"answer.reason": "=late", "answer.tags:items": "0 3", "answer.tags.0": "a", "answer.tags.3": "b"}
    shown = answer(log_in("operator"), one, **fields, note="Ann called. ").text
    one.refresh_from_db()
    assert one.response == {"approved": True, "amount": "10.50", "reason": "late", "tags": ["a", "b"]}
    assert (one.note, one.channel, one.actor) == ("Ann called.", "page", "user:operator")
    decision = shown[shown.index("data-answer") :]
    for text in ("<dd>operator</dd>", "the page", "Ann called.", "Approved", "Yes", "late"):
        assert text in decision


def test_a_wrong_entry_has_its_problem_beside_the_field_and_stays(log_in: LogIn, world: World) -> None:
    one = ask(world)
    shown = answer(log_in("operator"), one, **{"answer.amount": "ten", "answer.approved": "", "note": "why"})
    assert shown.status_code == 422
    assert "Amount must be a decimal number." in shown.text
    assert "Approved is required." in shown.text
    assert 'value="ten"' in shown.text
    assert "why</textarea>" in shown.text
    assert "data-findings" not in shown.text
    one.refresh_from_db()
    assert one.status == "DISPATCHED"


def test_items_are_added_and_removed_without_sending_the_answer(log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("operator")
    shown = answer(client, one, **{"do": "add:answer.tags", "answer.amount": "7", "note": "kept"})
    assert shown.status_code == 200
    for text in ('name="answer.tags:items" value="0"', 'name="answer.tags.0"', 'value="7"', "kept</textarea>"):
        assert text in shown.text
    fields = {"do": "remove:answer.tags.0", "answer.tags:items": "0 1", "answer.tags.0": "a", "answer.tags.1": "b"}
    shown = answer(client, one, **fields)
    assert 'name="answer.tags:items" value="1"' in shown.text
    one.refresh_from_db()
    assert one.status == "DISPATCHED"


def test_json_ends_in_the_same_answer(log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("operator")
    refused = answer(client, one, do="json", response='{"approved": "yes", "amount": "1", "tags": []}')
    assert refused.status_code == 422
    assert "response.approved" in refused.text
    assert "<details open>" in refused.text
    answer(client, one, do="json", response='{"approved": true, "amount": "1", "tags": []}', note="by hand")
    one.refresh_from_db()
    assert (one.response, one.note) == ({"approved": True, "amount": "1", "tags": []}, "by hand")


def test_an_answer_to_many_items_is_a_list_in_the_form(log_in: LogIn, world: World) -> None:
    one, client = ask(world, gives_many=True), log_in("operator")
    fields = {
        f"answer.{number}.{name}": text for number in (0, 1) for name, text in (("approved", "true"), ("amount", "1"))
    }
    assert "Add an item to Answers" in page(client, one).text
    answer(client, one, **fields, **{"answer:items": "0 1"})
    one.refresh_from_db()
    assert one.response == [{"approved": True, "amount": "1", "tags": []}] * 2


def test_a_late_answer_of_the_form_stays_on_the_page(log_in: LogIn, world: World) -> None:
    one = ask(world)
    run("UPDATE executions_interaction SET deadline = now() - interval '1 second' WHERE id = %s", one.pk)
    refused = answer(log_in("operator"), one)
    assert refused.status_code == 409
    assert "&quot;amount&quot;: &quot;10.50&quot;" in refused.text[refused.text.index("data-draft") :]


def test_hostile_entries_and_requests_are_inert(log_in: LogIn, world: World) -> None:
    one, client = ask(world, request=f'{{"claimId": {json.dumps(HOSTILE)}}}'), log_in("operator")
    fields = {"answer.amount": HOSTILE, "note": HOSTILE, "answer.tags:items": "0", "answer.tags.0": HOSTILE}
    for shown in (answer(client, one, **fields), page(client, one), client.get(reverse(LIST))):
        assert "<script>alert(" not in shown.text
        assert "&lt;script&gt;alert(" in shown.text


def test_numbers_of_fields_beyond_the_limits_are_ignored(log_in: LogIn, world: World) -> None:
    one = ask(world)
    shown = answer(log_in("operator"), one, **{"answer.tags:items": "x 1e5 -1 ٣ 99999999999", "do": "add:answer.tags"})
    assert 'name="answer.tags:items" value="0"' in shown.text


# --- the next question ----------------------------------------------------------------------------


def test_answer_and_next_shows_the_next_question_of_the_same_pipeline_first(
    log_in: LogIn, acme: World, world: World
) -> None:
    elsewhere = operator_rows.question(acme, "elsewhere", timeout_seconds=10.0)
    one, second, third = (ask(world, f"k{number}", timeout_seconds=60.0 + number) for number in range(3))
    claims.claim(world.tenant, second.pk, actor="user:eva")
    client = log_in("operator")
    assert answer(client, one, do="answer-next").context["interaction"] == third
    assert answer(client, third, do="answer-next").context["interaction"] == elsewhere
    assert post(client, elsewhere, "answer", do="json-next", response='{"n": 1}').redirect_chain[-1][0] == reverse(LIST)


# --- claims ---------------------------------------------------------------------------------------


def test_a_question_is_claimed_and_released_and_others_see_who_has_it(log_in: LogIn, world: World) -> None:
    one, mine, other = ask(world), log_in("operator"), log_in("on-call")
    assert "Not claimed." in page(mine, one).text
    assert "You have claimed the question" in post(mine, one, "claim").text
    text = page(other, one).text
    assert "<strong>operator</strong> is working on it" in text
    assert "Take over from operator" in text
    assert "You are working on it" in page(mine, one).text
    post(mine, one, "release")
    assert kinds(one) == [("CLAIMED", "user:operator"), ("RELEASED", "user:operator")]


def test_an_answer_to_a_claimed_question_needs_a_confirmation(log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("on-call")
    claims.claim(world.tenant, one.pk, actor="user:operator")
    refused = answer(client, one)
    assert refused.status_code == 409
    assert "INTERACTION_CLAIMED" in refused.text
    one.refresh_from_db()
    assert one.status == "DISPATCHED"
    answer(client, one, take_over="1")
    one.refresh_from_db()
    assert (one.status, one.actor) == ("COMPLETED", "user:on-call")


def test_a_claim_is_taken_over_only_on_purpose(log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("on-call")
    claims.claim(world.tenant, one.pk, actor="user:operator")
    assert "INTERACTION_CLAIMED" in post(client, one, "claim").text
    post(client, one, "claim", take_over="1")
    assert kinds(one)[-1] == ("TAKEN_OVER", "user:on-call")


def test_the_visit_of_the_claimant_renews_the_claim(log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("operator")
    post(client, one, "claim")
    with unguarded(Interaction):
        run("UPDATE executions_interaction SET claimed_until = now() + interval '9 minutes' WHERE id = %s", one.pk)
    page(log_in("on-call"), one)
    assert len(kinds(one)) == 1
    page(client, one)
    assert kinds(one)[-1] == ("RENEWED", "user:operator")


def test_a_question_is_passed_on_with_a_note(log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("operator")
    assert '<option value="on-call">' in page(client, one).text
    refused = post(client, one, "delegate", to="viewer")
    assert refused.status_code == 422
    assert "DELEGATE_UNKNOWN" in refused.text
    shown = post(client, one, "delegate", to="on-call", note="You know Ann").text
    assert "Delegated to <strong>on-call</strong>" in shown
    assert "You know Ann" in shown


@cases("text", ["x" * 2001, "a\0b"])
def test_texts_that_cannot_be_stored_are_rejected(text: str, log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("operator")
    assert answer(client, one, note=text).status_code == 400
    assert post(client, one, "delegate", to="on-call", note=text).status_code == 400
    assert post(client, one, "delegate", to=text).status_code == 400
    one.refresh_from_db()
    assert (one.status, one.claim_changes) == ("DISPATCHED", 0)


def test_the_page_and_the_list_need_few_queries(log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in("operator")
    claims.claim(world.tenant, one.pk, actor="user:eva")
    for address in (reverse("admin:executions_interaction_change", args=[one.pk]), reverse(LIST)):
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address).status_code == 200
        assert len(queries) <= 25


@cases("who", ["viewer", "release-manager", "stranger", "nobody"])
def test_who_may_not_answer_may_not_claim(who: str, log_in: LogIn, world: World) -> None:
    one, client = ask(world), log_in(who)
    for act in ("claim", "release", "delegate"):
        assert post(client, one, act, to="operator").status_code in (403, 404)
    one.refresh_from_db()
    assert (one.claim_changes, kinds(one)) == (0, [])
    shown = page(log_in("viewer"), one).text
    assert "These roles may: operator, on-call, tenant admin." in shown
    assert 'action="' + reverse("admin:executions_interaction_claim", args=[one.pk]) not in shown


# --- the list -------------------------------------------------------------------------------------


@pytest.fixture
def listed(world: World) -> dict[str, Interaction]:
    operator = User.objects.get(username="operator")
    made = {name: ask(world, name) for name in ("free", "mine", "passed", "theirs", "old", "named")}
    claims.claim(world.tenant, made["mine"].pk, actor=f"user:{operator.username}")
    claims.delegate(world.tenant, made["passed"].pk, actor="user:eva", to="operator")
    claims.claim(world.tenant, made["theirs"].pk, actor="user:eva")
    claims.claim(world.tenant, made["old"].pk, actor="user:eva")
    with unguarded(Interaction):
        run("UPDATE executions_interaction SET claimed_until = now() WHERE id = %s", made["old"].pk)
        run("UPDATE executions_interaction SET assignee = 'operator' WHERE id = %s", made["named"].pk)
    return made


@cases(
    ("query", "names"),
    [
        ("claim=mine", {"mine", "passed", "named"}),
        ("claim=none", {"free", "passed", "old", "named"}),
        ("claim=others", {"theirs"}),
        ("step=ProcessApproveClaimService", {"free", "mine", "passed", "theirs", "old", "named"}),
        ("step=Other", set()),
    ],
)
def test_the_list_is_filtered_by_claims_and_steps(
    query: str, names: set[str], log_in: LogIn, listed: dict[str, Interaction]
) -> None:
    shown = log_in("operator").get(f"{reverse(LIST)}?{query}").context["cl"].result_list
    assert {each.pk for each in shown} == {listed[name].pk for name in names}


def test_rows_of_the_list_tell_questions_apart(log_in: LogIn, listed: dict[str, Interaction]) -> None:
    run("UPDATE executions_interaction SET deadline = now() - interval '1 hour' WHERE id = %s", listed["free"].pk)
    shown = log_in("operator").get(reverse(LIST)).text
    for text in (
        "Approve claim",
        "Customer name:</span> Ann",
        "Amount:</span> 10.50",
        "Claim id:</span> c-7",
        "Overdue",
    ):
        assert text in shown
    for name in listed:
        assert f'<div class="dc-quiet">{name}</div>' in shown
    assert shown.index('<div class="dc-quiet">free</div>') < shown.index('<div class="dc-quiet">mine</div>')
