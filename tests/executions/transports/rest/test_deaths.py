"""If a control process dies during a call, its outcome is recorded completely or the call is repeated."""

import pytest

from executions.lifecycle.sweep import expire_leases
from executions.models import Execution, WireForm
from tests import making
from tests.deaths import each_death
from tests.executions.hosting import LONG_AGO
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow
from tests.executions.transports.rest.strict_worker import ENCODING, completed


@pytest.mark.django_db
def test_an_outcome_and_its_wire_payloads_are_recorded_together(flow: Flow) -> None:
    output = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"done"'}
    flow.double.answers = [completed(output) for _ in range(50)]
    made = making.execution(flow.owner, "k", ORDER, PIPELINE)

    def act() -> None:
        Execution.objects.filter(pk=made.pk, status="RUNNING").update(lease_expires_at=LONG_AGO)
        expire_leases()
        flow.dispatch()

    for statement in each_death(act):
        made.refresh_from_db()
        assert WireForm.objects.filter(pk=made.pk).exists() is (made.status == "SUCCEEDED"), statement
    made.refresh_from_db()
    assert (made.status, made.result) == ("SUCCEEDED", ["done"])
    assert WireForm.objects.get(pk=made.pk).result == [output]
    assert [kind for kind, _ in making.history(made)].count("SUCCEEDED") == 1
