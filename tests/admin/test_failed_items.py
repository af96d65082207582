"""The page of an execution lists the items that failed and were collected, and its form runs them again."""

import json

from django.test import Client

from executions.models import Execution, FailedItems, Resubmission
from governance.activation.activation import activate
from tests import making
from tests.admin.browsing import MARKUP, to, words
from tests.admin.conftest import LogIn, World
from tests.making import outcome_of, record
from tests.raw_sql import unchanged
from wire.documents.contract import DECLARATIONS_ENTRY
from wire.messages.step_reports import FailedItem
from wire.messages.step_reports import FailedItems as Reported

DECLARED = {"steps": {"Book": {"parallel": 4, "onItemFailure": "collect"}}}
PIPELINE = "acme.items"


def ended(acme: World) -> Execution:
    document = making.contract(PIPELINE, steps=making.steps("Read", "Book", "Pay"))
    data = making.archive(document, **{DECLARATIONS_ENTRY: json.dumps(DECLARED)})
    release = making.verified(making.upload(acme.tenant, making.descriptor(document, data), data).release)
    making.worker(release, "items")
    activate(release, actor="user:test")
    execution = making.execution(acme.tenant, pipeline_id=PIPELINE)
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == execution.pk]
    items = [FailedItem(index=n, error="Busy", message=MARKUP, tries=3, item=json.dumps({"n": MARKUP})) for n in (7, 9)]
    assert record(outcome_of(claim, failed_items=[Reported(step_index=1, failed=2, items=items)])) == 1
    return execution


def shown(client: Client, execution: Execution) -> str:
    page = client.get(to("executions_execution_change", execution) + "?tab=items")
    assert MARKUP not in page.content.decode()
    return words(page)


def test_failed_items_are_listed_for_those_who_read_payloads_and_run_again(log_in: LogIn, acme: World) -> None:
    execution = ended(acme)
    assert "2 items failed, and the execution continued. Run these items again" in shown(log_in("operator"), execution)
    assert "7 Busy" in shown(log_in("operator"), execution)
    assert "items failed, and" not in shown(log_in("viewer"), execution)
    assert "Failed items" not in words(log_in("operator").get(to("executions_execution_change", acme.execution)))
    address = to("executions_execution_resubmit", execution)
    form = log_in("operator").get(f"{address}?start_from=items").content.decode()
    assert '<option value="items" selected>with the 2 failed items, at Book' in form
    typed = {"start_from": "items", "operation_key": "k", "expected_version": execution.version + 2, "reason": "back"}
    with unchanged():
        log_in("viewer").post(address, typed)
    log_in("operator").post(address, {**typed, "expected_version": Execution.objects.get(pk=execution.pk).version})
    new = Execution.objects.get(origin=Resubmission.objects.get(execution=execution))
    assert (new.current_step_index, new.progress) == (1, [{"n": MARKUP}] * 2)
    assert "for the 2 items that failed at Book" in shown(log_in("operator"), new)
    assert FailedItems.objects.count() == 1
