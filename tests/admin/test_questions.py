import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from executions.models import Execution, Interaction, InteractionEvent
from releases.models import Pipeline, Recipients, Release
from tenancy.models import Membership
from tests import making
from tests.admin import operator_rows
from tests.admin.browsing import MARKUP, inert, listed, to
from tests.admin.conftest import LogIn, World
from tests.cases import cases
from tests.raw_sql import run, unguarded
from tests.unit.wire.comparison.releases import catalogue, field, named, record, wrapper

TYPES = catalogue(
    Claim=record(
        field("claimId", "string"),
        field("customerName", "string"),
        field("amount", "decimal"),
        field("lines", named("Line"), repeated=True),
    ),
    Line=record(field("sku"), field("price", "decimal")),
    Reason=wrapper(pattern="^(?:fraud|late|other)$"),
    Tag=wrapper(maxLength=40),
    Decision=record(
        field("approved", "boolean"),
        field("amount", "decimal"),
        field("reason", named("Reason"), optional=True),
        field("tags", named("Tag"), repeated=True),
    ),
)
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
    release = making.active(acme.tenant, pipeline_id="acme.claims", canonicalTypes=TYPES, steps=STEPS)
    worker = making.worker(release, "worker-of-claims", capacity=100)
    return World(acme.tenant, release, worker, acme.execution, acme.token, acme.plain_token)


@pytest.fixture
def world(acme: World) -> World:
    return with_claims(acme)


def ask(world: World, key: str = "asks", **members: Any) -> Interaction:
    of_claim = {"step_index": 1, "step_id": "ProcessApproveClaimService", "output_type": "Decision", "request": REQUEST}
    return operator_rows.question(world, key, **{**of_claim, **members})


def page(client: Client, question: Interaction) -> Any:
    return client.get(to("executions_interaction_change", question))


def post(client: Client, question: Interaction, act: str, **fields: str) -> Any:
    return client.post(to(f"executions_interaction_{act}", question), fields, follow=True)


def answer(client: Client, question: Interaction, **fields: str) -> Any:
    return post(client, question, "answer", **{**APPROVED, **fields})


def by_json(client: Client, question: Interaction, text: str, **fields: str) -> Any:
    return post(client, question, "answer", response=text, **fields)


def open_and_unanswered(question: Interaction) -> None:
    question.refresh_from_db()
    assert (question.status, question.response) == ("DISPATCHED", None)


def kinds(question: Interaction) -> list[tuple[str, str]]:
    events = InteractionEvent.objects.filter(interaction=question).order_by("sequence")
    return [(event.kind, event.actor) for event in events]


def test_the_first_answer_resumes_the_execution_and_is_stored(log_in: LogIn, operator: Client, acme: World) -> None:
    question = operator_rows.question(acme)
    assert "&quot;n&quot;: 1" in page(operator, question).text
    viewed = page(log_in("viewer"), question).text
    assert [f'id="{form}-form"' in viewed for form in ("answer", "claim")] == [False, False]
    assert 'id="answer-form"' not in by_json(log_in("tenant-admin"), question, '{"n": 2}').text
    again = by_json(operator, question, '{"n": 3}').text
    assert "It was given by <strong>tenant-admin-of-acme" in again
    assert ["&quot;n&quot;: 2" in again, "&quot;n&quot;: 3" in again.partition("data-draft")[2]] == [True, True]
    question.refresh_from_db()
    assert (question.status, question.response, question.actor) == ("COMPLETED", {"n": 2}, "user:tenant-admin-of-acme")
    assert Execution.objects.get(pk=question.execution_id).status == "QUEUED"
    assert listed(operator, "executions_interaction", {"q": str(question.execution_id)}) == [question]


@cases(
    ("draft", "problem"),
    ('{"n": ', "line 1 column 7"),
    ('1, "x": 2', "must be one JSON value"),
    ('{"n": 1, "n": 2}', "response.n"),
    *((text, "DOCUMENT_NOT_JSON") for text in ("", MARKUP)),
)
def test_invalid_json_is_rejected_and_stays_as_a_draft(draft: str, problem: str, operator: Client, acme: World) -> None:
    question = operator_rows.question(acme)
    refused = by_json(operator, question, draft)
    assert refused.status_code == 400
    assert problem in refused.text
    assert refused.context["draft"] == draft
    assert MARKUP not in refused.text
    open_and_unanswered(question)


def test_a_timer_cannot_be_answered(operator: Client, acme: World) -> None:
    question = operator_rows.question(acme, transport="timer")
    assert 'id="answer-form"' not in page(operator, question).text
    assert by_json(operator, question, '{"n": 2}').status_code == 409
    assert listed(operator, "executions_interaction") == []
    assert listed(operator, "executions_interaction", "status=all") == [question]


def test_steps_are_filtered_by_the_names_that_authors_gave_them(operator: Client, world: World) -> None:
    question, _ = ask(world), operator_rows.question(world, "other")
    for step, expected in (("Approve claim", [question]), ("approve_claim", [question]), (question.step_id, [])):
        assert listed(operator, "executions_interaction", {"step": step}) == expected
    shown = operator.get(to("executions_interaction_changelist")).text
    assert ['<option value="Approve claim"' in shown, question.step_id in shown] == [True, False]


def test_external_text_is_escaped(operator: Client, world: World) -> None:
    Pipeline.objects.update(recipients=Recipients.INFORM)
    question = ask(world, request=f'{{"claimId": {json.dumps(MARKUP)}}}', step_id=MARKUP, assignee=MARKUP, group=MARKUP)
    fields = {"answer.amount": MARKUP, "note": MARKUP, "answer.tags:items": "0", "answer.tags.0": MARKUP}
    for shown in (
        answer(operator, question, **fields),
        page(operator, question),
        operator.get(to("executions_interaction_changelist")),
    ):
        inert(shown)


def test_an_answer_by_the_form_is_stored_with_its_note_and_shown_as_a_decision(operator: Client, world: World) -> None:
    question = ask(world)
    fields = {"answer.reason": "=late", "answer.tags:items": "0 3", "answer.tags.0": "a", "answer.tags.3": "b"}
    shown = answer(operator, question, **fields, note="Ann called. ").text
    question.refresh_from_db()
    assert question.response == {"approved": True, "amount": "10.50", "reason": "late", "tags": ["a", "b"]}
    assert (question.note, question.channel, question.actor) == ("Ann called.", "page", "user:operator")
    assert "Ann called." in shown[shown.index("data-answer") :]


def test_a_wrong_entry_has_its_problem_beside_the_field_and_stays(operator: Client, world: World) -> None:
    question = ask(world)
    shown = answer(operator, question, **{"answer.amount": "ten", "answer.approved": "", "note": "why"})
    assert shown.status_code == 422
    for text in ("Amount must be a decimal number.", "Approved is required.", 'value="ten"', "why</textarea>"):
        assert text in shown.text
    assert answer(operator, question, note="x" * 2001).status_code == 400
    open_and_unanswered(question)


def live(client: Client, question: Interaction, shown: str = "") -> Any:
    query = {"buttons": "fields", "shown": shown}
    return client.get(to("executions_interaction_live", question), query, headers={"HX-Request": "true"})


def test_a_form_has_the_order_and_the_texts_of_its_author_and_a_summary(operator: Client, world: World) -> None:
    texts = {"title": "To pay", "unit": "EUR", "description": "At most the claim", "examples": ["1.50"]}
    described = {
        "Claim": {"order": ["customerName", "claimId"], "fields": {"amount": {"unit": "EUR"}}},
        "Decision": {"order": ["reason", "amount", "approved"], "fields": {"amount": texts}},
    }
    with unguarded(Release):
        Release.objects.filter(pk=world.release.pk).update(declarations={"types": described})
    question = ask(world, request=REQUEST.replace("10.50", "1210.50"))
    shown = page(operator, question).text
    order = "Customer name|Claim id|1,210.50 EUR|Reason|To pay (EUR)|At most the claim. For example 1.50.|Approved|Tags"
    places = [shown.index(text) for text in order.split("|")]
    assert places == sorted(places)
    summary = answer(operator, question, do="review", note="She called.").text
    assert "10.50 EUR" in summary.partition("data-summary")[2]
    assert 'name="note" value="She called."' in summary
    refused = answer(operator, question, do="review", **{"answer.tags:items": "0", "answer.tags.0": "x" * 41}).text
    assert [text in refused for text in ("data-summary", "response.tags")] == [False, False]
    open_and_unanswered(question)


def test_a_page_is_told_what_changed_and_closes_at_the_deadline(log_in: LogIn, operator: Client, world: World) -> None:
    question = ask(world, timeout_seconds=3600.0)
    first = live(operator, question)
    assert "left to answer" in first.text
    assert 'id="answer-note"' not in first.text
    mark = first.context["present"].mark
    claimed = operator.post(to("executions_interaction_claim", question), {}, headers={"HX-Request": "true"}).text
    assert 'data-claim="mine"' in claimed
    assert 'data-claim="others"' in live(log_in("on-call"), question, mark).text
    refused = post(operator, question, "delegate", to="nobody", note="please").text
    assert ['value="nobody"' in refused, "please</textarea>" in refused] == [True, True]
    with unguarded(Interaction):
        run("UPDATE executions_interaction SET deadline = now() WHERE id = %s", question.pk)
    assert "The deadline has passed." in live(operator, question, mark).text
    assert ">overdue<" in operator.get(to("executions_interaction_changelist")).text.replace("\n", "").replace(" ", "")
    late = page(operator, question).text
    assert ['id="answer-form"' in late, ">overdue<" in late, "Its deadline has passed." in late] == [False, True, True]
    assert "10.50" in answer(operator, question).text.partition("data-draft")[2]


def test_a_question_is_claimed_and_released_and_others_see_it(log_in: LogIn, operator: Client, world: World) -> None:
    question, other = ask(world), log_in("on-call")
    for who, status in (("release-manager", 403), ("stranger", 404)):
        assert post(log_in(who), question, "release").status_code == status
    post(operator, question, "claim")
    assert "<strong>operator</strong> is working on it" in page(other, question).text
    assert len(kinds(question)) == 1
    with unguarded(Interaction):
        run("UPDATE executions_interaction SET claimed_until = now() + interval '9 minutes' WHERE id = %s", question.pk)
    page(other, question)
    assert len(kinds(question)) == 1
    page(operator, question)
    assert kinds(question)[-1] == ("RENEWED", "user:operator")
    post(operator, question, "release")
    assert kinds(question)[-1] == ("RELEASED", "user:operator")


def test_only_members_answer_for_their_group(log_in: LogIn, operator: Client, admin: Client, world: World) -> None:
    question, other = ask(world, group="finance"), ask(world, "other", assignee="on-call")
    shown = page(operator, question).text
    assert "For group finance" in shown
    assert "No member whose role may answer has the group finance. A tenant admin can reassign it" in shown
    assert [f'id="{name}"' in shown for name in ("answer-form", "delegate", "reassign")] == [False] * 3
    assert "data-draft" in answer(operator, question).text
    for refused in (
        answer(operator, question),
        post(operator, question, "claim"),
        post(operator, question, "delegate", to="on-call"),
    ):
        assert refused.status_code in {403, 422}
    assert kinds(question) == []
    assert listed(operator, "executions_interaction", "claim=mine") == []
    member = Membership.objects.get(user__username="operator")
    form = {"role": "operator", "groups": "legal\r\n\r\n finance "}
    assert admin.post(to("tenancy_membership_change", member), form).status_code == 302
    assert "finance, legal" in admin.get(to("tenancy_membership_changelist")).text
    assert listed(operator, "executions_interaction", "claim=mine") == [question]
    assert 'id="answer-form"' in page(operator, question).text
    assert "No other open question is waiting for you." in answer(operator, question, do="answer-next").text
    shown = post(admin, other, "reassign", assignee="operator", reason="on holiday").text
    assert "reassigned to operator" in shown
    assert "on holiday" in shown
    assert answer(log_in("on-call"), other).status_code == 403
    assert answer(operator, other).status_code == 200


def test_an_open_list_is_told_what_changed_for_one_small_statement(
    log_in: LogIn, operator: Client, world: World
) -> None:
    def news(shown: str, query: str = "") -> Any:
        address = f"{to('executions_interaction_news')}?shown={shown}&{query}"
        return operator.get(address, headers={"HX-Request": "true"})

    question = ask(world)
    mark = news("").context["cl"].mark
    with CaptureQueriesContext(connection) as queries:
        assert news(mark).status_code == 204
    *frame, read = [query["sql"] for query in queries if " FROM " in query["sql"]]
    assert len(frame) == 4  # the session, the person, the time zone and the roles
    assert "executions_interaction" in read
    assert [text in read for text in ('."request"', "executions_execution")] == [False, False]
    post(log_in("on-call"), question, "claim")
    assert "on-call" in news(mark).text
    ask(world, "new")
    shown = news(mark, "claim=none")
    assert shown.text.count('id="question-') == 1
    assert "change/?_changelist_filters=claim%3Dnone" in shown.text
