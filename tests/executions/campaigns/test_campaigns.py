"""Requests of operators change the status of a campaign, and events record them."""

from datetime import UTC, datetime

import pytest

from executions.campaigns import campaigns
from executions.errors import CampaignRefused, CampaignUnknown
from executions.models import Campaign, CampaignItem, Execution
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.campaigns.campaigning import (
    TABLES,
    advance,
    codes,
    events,
    everything,
    pass_time,
    progress,
    start,
)
from tests.raw_sql import unguarded

pytestmark = pytest.mark.django_db


def test_a_cancelled_campaign_skips_its_pending_items(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    advance(4)
    done = campaigns.cancel(owner, made.pk, actor="user:bob", reason="enough")
    assert (done.status, progress(made)) == ("CANCELLED", (0, 4, 6))
    assert done.finished_at is not None
    assert set(codes(made).values()) == {"CAMPAIGN_CANCELLED"}
    pass_time(60)
    before = everything()
    assert campaigns.advance() == 0
    assert everything() == before
    assert events(made)[-1] == ("CANCELLED", "user:bob")


OPERATIONS = {"pause": campaigns.pause, "resume": campaigns.resume, "cancel": campaigns.cancel}


@cases(
    ("before", "operation", "status"),
    [
        ("RUNNING", "pause", "PAUSED"),
        ("PAUSED", "pause", "PAUSED"),
        ("COMPLETED", "pause", None),
        ("RUNNING", "resume", "RUNNING"),
        ("PAUSED", "resume", "RUNNING"),
        ("CANCELLED", "resume", None),
        ("RUNNING", "cancel", "CANCELLED"),
        ("PAUSED", "cancel", "CANCELLED"),
        ("COMPLETED", "cancel", None),
        ("CANCELLED", "cancel", "CANCELLED"),
    ],
)
def test_each_operation_is_applied_once_or_rejected(
    owner: Tenant, dead: list[Execution], before: str, operation: str, status: str | None
) -> None:
    made = start(owner)
    if before == "PAUSED":
        campaigns.pause(owner, made.pk, actor="user:test")
    elif before != "RUNNING":
        with unguarded(Campaign):
            Campaign.objects.update(status=before, finished_at=datetime(2026, 1, 1, tzinfo=UTC))
    rows_before = everything()
    if status is None:
        with pytest.raises(CampaignRefused) as caught:
            OPERATIONS[operation](owner, made.pk, actor="user:ann")
        assert caught.value.data == {"campaignStatus": before}
    else:
        assert OPERATIONS[operation](owner, made.pk, actor="user:ann").status == status
    if status is None or status == before:
        after = everything()
        items = TABLES.index(CampaignItem)
        assert after[:items] + after[items + 1 :] == rows_before[:items] + rows_before[items + 1 :]


def test_a_campaign_of_another_tenant_is_like_an_unknown_one(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    before = everything()
    for operation in OPERATIONS.values():
        with pytest.raises(CampaignUnknown):
            operation(making.tenant(), made.pk, actor="")
    with pytest.raises(CampaignUnknown):
        campaigns.campaign(making.tenant(), made.pk)
    assert everything() == before
