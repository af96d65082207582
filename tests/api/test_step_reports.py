from executions.models import Execution
from tenancy.models import Tenant
from tenancy.roles import Scope
from tests import making
from tests.api.caller import Caller
from wire.messages.celery_messages import StepReport
from wire.messages.step_reports import StepLine

LINE: StepLine = (1_800_000_000_000, "INFO", 0, 3, "rows 4")


def test_rest_shows_progress_to_all_and_texts_only_to_those_who_may_see_payloads(owner: Tenant) -> None:
    execution: Execution = making.execution(owner)
    [claim] = making.claimed(owner)
    path = f"executions/{execution.pk}"
    reader, operator = Caller(owner, Scope.READ), Caller(owner, Scope.READ, Scope.PAYLOADS)
    assert (operator.get(path)["progress"], operator.get(f"{path}/log")["lines"]) == (None, [])
    report = StepReport(done=2, total=3, message="row 2", lines=[LINE])
    making.record(making.outcome_of(claim, report=report))
    shown, hidden = operator.get(path)["progress"], reader.get(path)["progress"]
    assert (shown["done"], shown["total"], shown["message"], hidden["message"]) == (2, 3, "row 2", None)
    [line] = operator.get(f"{path}/log")["lines"]
    assert line == {
        "at": "2027-01-15T08:00:00Z",
        "level": "INFO",
        "stepIndex": 0,
        "stepName": line["stepName"],
        "attempt": 0,
        "item": 3,
        "text": "rows 4",
    }
    assert reader.get(f"{path}/log", 403)["code"] == "SCOPE_MISSING"
