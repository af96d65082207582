"""A submission that races with the activation of another release."""

from typing import Any

from django.db import connection

from executions.models import Execution
from releases.activation.activation import activate
from tests import making
from tests.executions.transports.rest.order_flow import ORDER, ORDER_TYPE, PIPELINE, Flow
from tests.interop.client import ok, payload, switch_on
from wire.messages.rest_messages import execution_key


def test_it_is_accepted_for_the_new_release_with_a_key_that_contains_it(flow: Flow, settings: Any) -> None:
    switch_on(settings)
    second = making.registered(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP])
    making.worker(second, "celery-1")
    raced: list[str] = []

    def activate_meanwhile(execute: Any, sql: str, *arguments: Any) -> Any:
        """Activate the second release after the submission has read the first one as active."""
        rows = execute(sql, *arguments)
        if not raced and 'FROM "releases_pipeline"' in sql:
            raced.append(sql)
            activate(second, actor="user:test")
        return rows

    order = {"pipelineId": PIPELINE, "inputShape": "UNI", "inputPayload": payload(ORDER_TYPE, ORDER)}
    with connection.execute_wrapper(activate_meanwhile):
        answer = ok("POST", f"control-plane/tenants/{flow.owner.slug}/executions", {**order, "idempotencyKey": "k"})
    assert raced
    made = Execution.objects.get(pk=answer["executionId"])
    assert (made.release_id, made.execution_key) == (second.pk, execution_key(PIPELINE, "2.0", "k"))
