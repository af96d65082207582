"""The pages and the API link a parent with its children, and say what a step calls."""

from executions.children import asking
from executions.children.calls import children
from executions.explanation.explanation import explain
from tenancy.roles import Scope
from tests import making
from tests.admin.browsing import to, words
from tests.admin.conftest import LogIn, World
from tests.api.caller import Caller
from tests.executions.awaits.parking import interaction_of

CALL = {
    **making.STEP,
    "authoredName": "Refund",
    "kind": "await",
    "awaitTransport": "pipeline",
    "callsPipeline": "refunds",
}


def test_a_parent_and_its_child_name_each_other(log_in: LogIn, acme: World) -> None:
    caller = making.ready(acme.tenant, version="8.0", pipeline_id="returns", steps=[{**CALL, "callsRelease": "7.0"}])
    making.ready(acme.tenant, version="7.0", pipeline_id="refunds")
    parent = making.execution(acme.tenant, "parent", pipeline_id="returns")
    [claim] = [each for each in making.claimed(acme.tenant) if each.execution_id == parent.pk]
    making.record(making.suspension(claim, transport="pipeline"))
    client, api = log_in("viewer"), Caller(acme.tenant, Scope.READ)
    parent.refresh_from_db()
    assert "refunds 7.0 to accept an execution until" in str(explain(parent, payloads=True).now[0])
    assert asking.call_next()
    [child] = children(parent)
    assert f"waits for execution {child.pk} of refunds, which is QUEUED" in str(explain(parent, payloads=True).now[0])
    assert f"Child executions Execution Status Release Called by {child.pk} QUEUED refunds 7.0" in words(
        client.get(to("executions_execution_change", parent))
    )
    assert f"Step 1 of {parent.pk} called it." in words(client.get(to("executions_execution_change", child)))
    assert "the result of the child execution answers it" in words(
        client.get(to("executions_interaction_change", interaction_of(parent)))
    )
    release = words(client.get(to("releases_release_change", caller[1])))
    assert "calls refunds 7.0" in release
    [shown] = api.get(f"executions/{parent.pk}")["children"]
    assert (shown["executionId"], shown["stepIndex"], shown["itemIndex"]) == (str(child.pk), 0, None)
    assert api.get(f"executions/{child.pk}")["parentExecutionId"] == str(parent.pk)
    assert api.get(f"executions/{acme.execution.pk}")["children"] == []
    found = [api.get(f"executions?parentExecutionId={each.pk}")["items"] for each in (parent, child)]
    assert [[row["executionId"] for row in rows] for rows in found] == [[str(child.pk)], []]
