"""A draft freezes a selection: what was previewed is what is done."""

import uuid
from datetime import timedelta

import pytest

from executions.campaigns import campaigns, drafts
from executions.campaigns.creating import Options
from executions.errors import (
    CampaignEmpty,
    CampaignRefused,
    CampaignTargetInvalid,
    CampaignUnknown,
    ReleaseRevokedConfirmation,
)
from executions.models import Campaign, CampaignItem, Execution
from executions.tasks import sweep
from foundation.errors import CoordinatorError
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.errors import ReasonRequired
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.executions.campaigns.campaigning import events, pass_time, progress
from tests.raw_sql import unchanged, unguarded

pytestmark = pytest.mark.django_db
Kind = Campaign.Kind
OPTIONS = Options(reason="the bank is back", rate_per_minute=600)
ANN = "user:ann"


def freeze(owner: Tenant, kind: Kind = Kind.REDRIVE) -> Campaign:
    return drafts.freeze(owner, kind, Execution.objects.all(), actor=ANN)


def run(draft: Campaign, options: Options = OPTIONS) -> Campaign:
    started = drafts.start(draft.tenant, draft.pk, options, actor="user:bob")
    pass_time(60)
    campaigns.advance()
    started.refresh_from_db()
    return started


def acts() -> list[tuple[str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("act", "actor"))


def test_a_draft_does_nothing_until_it_is_started(owner: Tenant, dead: list[Execution]) -> None:
    draft = freeze(owner)
    assert (draft.status, draft.created_by, progress(draft), events(draft)) == ("DRAFT", ANN, (10, 0, 0), [])
    with unchanged():
        assert campaigns.advance() == 0
        assert drafts.remove_old() == 0
    started = run(draft)
    assert (started.status, started.created_by, progress(started)) == ("COMPLETED", "user:bob", (0, 10, 0))
    assert events(started) == [("STARTED", "user:bob"), ("COMPLETED", "coordinator")]
    assert acts()[-2:] == [("campaign.draft", ANN), ("campaign.start", "user:bob")]
    assert dead[0].events.get(kind="REDRIVEN").actor == "user:bob"


def test_a_draft_contains_only_what_its_kind_fits_and_is_discarded(owner: Tenant, dead: list[Execution]) -> None:
    with pytest.raises(CampaignEmpty, match="unfinished"):
        freeze(owner, Kind.PAUSE)
    making.execution(owner, "queued")
    drafts_of = {kind: freeze(owner, kind) for kind in Kind}
    assert {kind: draft.items.count() for kind, draft in drafts_of.items()} == {
        **{Kind.REDRIVE: 10, Kind.RESUBMIT: 10},
        **{Kind.CANCEL: 1, Kind.PAUSE: 1},
    }
    for draft in drafts_of.values():
        drafts.discard(owner, draft.pk, actor=ANN)
    assert acts()[-1] == ("campaign.discard", ANN)
    assert not Campaign.objects.exists()
    assert not CampaignItem.objects.exists()


def test_a_draft_names_revoked_releases_and_runs_them_only_if_that_is_confirmed(
    owner: Tenant, dead: list[Execution]
) -> None:
    activate(making.registered(owner, "1.1"), actor=ANN)
    revoke(dead[0].release, actor=ANN, reason="wrong sums")
    draft = freeze(owner)
    found = drafts.contents(draft)
    assert [(each.release_version, each.count, each.reason) for each in found.revoked] == [("1.0", 10, "wrong sums")]
    assert found.active == {making.PIPELINE: "1.1"}
    with pytest.raises(ReleaseRevokedConfirmation):
        drafts.start(owner, draft.pk, OPTIONS, actor=ANN)
    draft.refresh_from_db()
    assert (draft.status, events(draft)) == ("DRAFT", [])
    confirmed = Options(reason="on purpose", rate_per_minute=600, allow_revoked=True)
    assert progress(run(draft, confirmed)) == (0, 10, 0)


BAD_OPTIONS: list[tuple[Options, type[CoordinatorError]]] = [
    (Options(reason=" ", rate_per_minute=1), ReasonRequired),
    (Options(reason="r", rate_per_minute=1, target_release_version="1.0"), CampaignTargetInvalid),
    (Options(reason="r", rate_per_minute=1, canary=1), CampaignTargetInvalid),
    (Options(reason="r", rate_per_minute=1, stop_after_failures=1), CampaignTargetInvalid),
]


def test_a_draft_starts_only_with_a_reason_and_options_that_its_kind_takes(owner: Tenant) -> None:
    making.execution(owner, "queued")
    draft = freeze(owner, Kind.CANCEL)
    for options, error in BAD_OPTIONS:
        with pytest.raises(error):
            drafts.start(owner, draft.pk, options, actor=ANN)
    draft.refresh_from_db()
    assert draft.status == "DRAFT"


def test_neither_a_draft_is_controlled_like_a_campaign_nor_a_campaign_like_a_draft(owner: Tenant) -> None:
    draft, started = freeze(owner), freeze(owner)
    drafts.start(owner, started.pk, OPTIONS, actor=ANN)
    with unchanged():
        for control in (campaigns.pause, campaigns.resume, campaigns.cancel):
            with pytest.raises(CampaignRefused):
                control(owner, draft.pk, actor=ANN)
        with pytest.raises(CampaignRefused):
            drafts.start(owner, started.pk, OPTIONS, actor=ANN)
        with pytest.raises(CampaignRefused):
            drafts.discard(owner, started.pk, actor=ANN)
        for tenant, campaign_id in ((making.tenant(), draft.pk), (owner, uuid.uuid4())):
            with pytest.raises(CampaignUnknown):
                drafts.start(tenant, campaign_id, OPTIONS, actor=ANN)
            with pytest.raises(CampaignUnknown):
                drafts.discard(tenant, campaign_id, actor=ANN)


def test_the_sweep_removes_drafts_after_a_day(owner: Tenant, dead: list[Execution]) -> None:
    old, young, started = freeze(owner), freeze(owner), freeze(owner)
    drafts.start(owner, started.pk, OPTIONS, actor=ANN)
    with unguarded(Campaign):
        for campaign, age in ((old, 24.1), (young, 23.9), (started, 48)):
            Campaign.objects.filter(pk=campaign.pk).update(created_at=campaign.created_at - timedelta(hours=age))
    sweep()
    assert {*Campaign.objects.values_list("pk", flat=True)} == {young.pk, started.pk}
    assert not CampaignItem.objects.filter(campaign=old.pk).exists()
    assert young.items.count() == started.items.count() == 10
