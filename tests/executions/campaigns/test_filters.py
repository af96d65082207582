"""The filters of campaigns, and previews."""

from datetime import UTC, datetime

import pytest

from executions.campaigns.filters import Filters, preview
from executions.errors import CampaignEmpty, FilterRequired
from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter, Execution
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.campaigns.campaigning import OF_THE_PIPELINE, record, start
from tests.raw_sql import unchanged

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def various(module_world: None) -> Tenant:
    """A tenant with executions that each differ in one property."""
    owner, _ = making.ready()
    making.dead(owner, "timeout", code="Timeout")
    making.dead(owner, "refused", code="Refused")
    making.dead(owner, "failed", code="Refused", retryable=False)
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.dead(owner, "on v2", code="Timeout")
    stranger, _ = making.ready()
    making.dead(stranger, "stranger", code="Timeout")
    making.execution(owner, "live")
    making.claimed(owner)
    for day, key in enumerate(("timeout", "refused", "failed", "on v2"), 1):
        moment = datetime(2026, 1, day, tzinfo=UTC)
        making.finished(moment, Execution.objects.get(execution_key=key))
    return owner


@cases(
    ("filters", "allow_failed", "keys"),
    [
        (OF_THE_PIPELINE, False, {"timeout", "refused", "on v2"}),
        (OF_THE_PIPELINE, True, {"timeout", "refused", "on v2", "failed"}),
        (Filters(pipeline_id="another"), True, set()),
        (Filters(release_version="1.0", error_code="Timeout"), True, {"timeout"}),
        (Filters(contract_version="no such"), True, set()),
        (Filters(reason=DeadLetter.Reason.NON_RETRYABLE), True, {"failed"}),
        (
            Filters(finished_from=datetime(2026, 1, 2, tzinfo=UTC), finished_to=datetime(2026, 1, 4, tzinfo=UTC)),
            True,
            {"refused", "failed"},
        ),
    ],
)
def test_a_preview_shows_what_a_campaign_contains(
    various: Tenant, filters: Filters, allow_failed: bool, keys: set[str]
) -> None:
    found = preview(various, filters, allow_failed=allow_failed)
    assert (found.count, {each.execution_key for each in found.executions}) == (len(keys), keys)
    assert sum(group["count"] for group in found.by_error_code) == len(keys)
    assert sum(group["count"] for group in found.by_release) == len(keys)
    if not keys:
        with unchanged(), pytest.raises(CampaignEmpty):
            start(various, filters, allow_failed=allow_failed)
        return
    made = start(various, filters, allow_failed=allow_failed)
    items = made.items.order_by("id").select_related("execution")
    assert {str(item.execution and item.execution.execution_key) for item in items} == keys
    assert [item.execution_id for item in items] == [each.pk for each in found.executions]
    assert {(item.expected_version, item.outcome) for item in items} == {(2, "PENDING")}


def test_a_campaign_needs_a_filter(various: Tenant) -> None:
    for select in (preview, start):
        with unchanged(), pytest.raises(FilterRequired):
            select(various, Filters())


def test_the_reason_filter_matches_the_latest_failure(quiet: Tenant) -> None:
    [execution] = making.dead(quiet, "key")
    redrive(quiet, execution.pk, actor="", reason="")
    [claim] = making.claimed(quiet)
    record(making.failure(claim, retryable=False))
    assert preview(quiet, Filters(reason=DeadLetter.Reason.RETRY_EXHAUSTED), allow_failed=True).count == 0
    assert preview(quiet, Filters(reason=DeadLetter.Reason.NON_RETRYABLE), allow_failed=True).count == 1
