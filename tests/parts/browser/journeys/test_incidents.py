"""Journeys of those who are called when something fails, or when somebody must decide."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from executions.models import Interaction
from tenancy.roles import Role
from tests.e2e.orders import PIPELINE, build_orders
from tests.parts.browser.journeys.conftest import Journey
from tests.raw_sql import unguarded
from tests.receiving import receiving
from tests.running import RunningProduct, TenantInUse, eventually

BAD = ("context.attempt < order.fail_times", "order.number > 0")
"""A change after which no order is settled."""
AMOUNT = (
    ("import time\n", "import time\nfrom decimal import Decimal\n"),
    ("class Answer:\n    note: str", "class Answer:\n    note: str\n    amount: Decimal"),
)


@pytest.mark.timeout(240)
def test_incident_to_resubmitted_failures(journey: Journey, tenant: TenantInUse, tmp_path: Path) -> None:
    good, bad = build_orders(tmp_path, "1.0"), build_orders(tmp_path, "2.0", BAD)
    for release in (good, bad):
        tenant.host(release, f"worker-{release.version}-{tenant.tenant.slug}")
    failed = [
        tenant.eventually_accepted(PIPELINE, {"number": number, "folder": str(tmp_path)}, f"order {number}")
        for number in (1, 2, 3)
    ]
    for execution in failed:
        tenant.wait_for(execution["executionId"], "DLQ")
    on_call = journey.person(tenant, Role.ON_CALL)
    on_call.opens("Recover").sees("still get release 2.0").opens("Roll back").ticks("1.0")
    on_call.fills("Reason", "No order is settled").presses("Roll back").sees("No order is settled")
    on_call.goes_to("Overview").opens("Recover").sees("New executions get release 1.0.")
    on_call.presses("Resubmit from the checkpoint…").sees("This is a preview.").fills("Reason", "1.0 settles them")
    on_call.presses("Start: resubmit 3").sees("All 3 succeeded.")
    on_call.goes_to("Overview").opens("Recover").sees("campaign.draft")
    resubmitted = tenant.get("executions?releaseVersion=1.0")["items"]
    assert len(resubmitted) == 3
    for execution in resubmitted:
        tenant.wait_for(execution["executionId"], "SUCCEEDED")


@pytest.fixture(scope="module")
def desk(running: RunningProduct, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantInUse]:
    """A tenant whose pipeline asks for a note and an amount."""
    desk = running.tenant("desk")
    desk.host(build_orders(tmp_path_factory.mktemp("desk"), "1.0", *AMOUNT), "worker-of-the-desk")
    yield desk
    desk.stop_workers()


def asked(desk: TenantInUse, key: str, folder: Path) -> Interaction:
    order = {"number": 1, "folder": str(folder), "questions": 1}
    made = desk.eventually_accepted(PIPELINE, order, key)["executionId"]
    desk.wait_for(made, "WAITING_EXTERNAL")
    return Interaction.objects.get(execution=made)


def test_answer_wrongly_together_and_late(journey: Journey, desk: TenantInUse, name: str, tmp_path: Path) -> None:
    operator = journey.person(desk, Role.OPERATOR)

    def begun(story: str, amount: str) -> Interaction:
        question = asked(desk, f"{story} {name}", tmp_path)
        operator.goes_to("Questions").opens_row(f"{story} {name}").fills("Note", story).fills("Amount", amount)
        return question

    right = begun("wrongly", "many")
    operator.presses("Check the answer").sees("Amount must be a decimal number.").fills("Amount", "12.50").presses(
        "Check the answer"
    )
    operator.sees("This is the answer that you are about to send").presses("Send the answer").sees("Answered by")
    together = begun("together", "1")
    first = {"note": "first", "amount": "2.00"}
    desk.post("questions/answer", questionId=str(together.pk), response=first)
    operator.sees("That answer counts.")
    late = begun("late", "3")
    with unguarded(Interaction):
        Interaction.objects.filter(pk=late.pk).update(deadline=timezone.now())
    operator.sees("The deadline has passed.")
    assert desk.wait_for(str(late.execution_id), "FAILED")
    answers = {"first": together, "wrongly": right}
    for note, question in answers.items():
        assert desk.wait_for(str(question.execution_id), "SUCCEEDED")
        assert desk.result(str(question.execution_id))["notes"] == [note]


def test_alert_set_up_and_received(journey: Journey, tenant: TenantInUse, tmp_path: Path) -> None:
    release = build_orders(tmp_path, "1.0")
    tenant.register(release)
    tenant.change_policy(PIPELINE, approvals=1)
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    with receiving() as receiver:
        manager.goes_to("Alerts").opens("Alert channels").opens("Add a channel").selects("Kind", "Webhook")
        manager.fills("Name", "Operations").fills("Address", receiver.url()).presses("Add the channel")
        manager.sees("Operations").goes_to("Alerts").opens("Alert rules").opens("Add a rule")
        manager.selects("Kind", "Approval wanted").fills("Name", "Votes").ticks("Operations").presses("Add the rule")
        manager.sees("The rule has found nothing.")
        path = f"pipelines/{PIPELINE}/activation-requests"
        tenant.post(path, 201, releaseVersion="1.0", reason="It is ready", operationKey="request")
        body = eventually(lambda: [sent for sent in receiver.requests if b"1.0" in sent.body], what="the alert")
        manager.goes_to("Alerts").sees("1.0")
    assert body[-1].json
