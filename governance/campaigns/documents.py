"""REST: the requests and responses of campaigns."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from executions.inspection.api import ErrorView, PinView
from executions.lifecycle.api import LONGEST_REASON, START_HELP, STATES
from executions.models import Campaign, CampaignEvent, CampaignItem, DeadLetter, Execution, StartFrom
from foundation.api.fields import Flag, KeywordMembers, SegmentIdentifier, StrictSerializer, Text, Uuid, WholeNumber
from governance.campaigns import campaigns, drafts, resubmitting
from governance.campaigns.admitting import Results, results
from governance.campaigns.campaigns import HIGHEST_RATE, Options
from governance.campaigns.selection import MOST_CHOSEN, WIRE_NAMES, Filters, Preview, RevokedRelease
from releases.models import IDENTITY_LENGTH

RATE_HELP = "How many executions it acts on in a minute at most."


class FiltersRequest(StrictSerializer):
    schema_rules: ClassVar = {"minProperties": 1}

    pipelineId = SegmentIdentifier(max_length=IDENTITY_LENGTH, required=False)
    contractVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH, required=False)
    releaseVersion = SegmentIdentifier(max_length=IDENTITY_LENGTH, required=False)
    errorCode = Text(max_length=100, required=False, help_text="The code of the failure.")
    reason = serializers.ChoiceField(choices=DeadLetter.Reason.choices, required=False)
    finishedFrom = serializers.DateTimeField(
        required=False, help_text="Executions match if they finished at this time or later."
    )
    finishedTo = serializers.DateTimeField(
        required=False, help_text="Executions match if they finished before this time."
    )
    failureGroup = Uuid(required=False, help_text="Executions match if their latest failure belongs to this group.")


class FiltersView(FiltersRequest):
    """The filters of a campaign. They are empty if its executions were named one by one."""

    schema_rules: ClassVar = {}


class PreviewRequest(StrictSerializer):
    filters = FiltersRequest(
        help_text="An execution matches if it fulfils every member. At least one member is required."
    )
    allowFailed = Flag(
        source="allow_failed", required=False, default=False, help_text="Also include executions that are FAILED."
    )


class BoundsRequest(StrictSerializer):
    """Members of a campaign that runs executions again."""

    canary = WholeNumber(
        min_value=1,
        max_value=drafts.MOST_ITEMS,
        required=False,
        allow_null=True,
        help_text="This many executions run first. The others follow only if none of them fails again.",
    )
    stopAfterFailures = WholeNumber(
        source="stop_after_failures",
        min_value=1,
        max_value=drafts.MOST_ITEMS,
        required=False,
        allow_null=True,
        help_text="The campaign pauses itself when this many of its executions have failed again.",
    )


class CampaignRequest(BoundsRequest):
    schema_rules: ClassVar = {"oneOf": [{"required": ["filters"]}, {"required": ["executionIds"]}]}

    filters = FiltersRequest(
        required=False,
        help_text="An execution matches if it fulfils every member. At least one member is required. Campaigns that "
        "cancel or pause accept `pipelineId`, `contractVersion`, `releaseVersion` and `errorCode`.",
    )
    executionIds = serializers.ListField(
        source="execution_ids",
        child=Uuid(),
        required=False,
        min_length=1,
        max_length=MOST_CHOSEN,
        help_text="The executions, instead of `filters`. Those that the kind does not fit are left out.",
    )
    allowFailed = Flag(
        source="allow_failed", required=False, default=False, help_text="Also include executions that are FAILED."
    )
    draft = Flag(
        required=False,
        default=False,
        help_text="Store the selection as a DRAFT, which does nothing until it is started. It contains at most "
        f"{drafts.MOST_ITEMS:,} executions, and is removed after a day. "
        "It is DRAFTING at first if it is large, and is started afterwards.",
    )
    reason = Text(max_length=LONGEST_REASON)
    ratePerMinute = WholeNumber(source="rate_per_minute", min_value=1, max_value=HIGHEST_RATE, help_text=RATE_HELP)
    allowRevoked = Flag(
        source="allow_revoked",
        required=False,
        default=False,
        help_text="Also re-drive executions of releases that are revoked now. The preview names them.",
    )
    kind = serializers.ChoiceField(
        choices=Campaign.Kind.choices,
        required=False,
        default=Campaign.Kind.REDRIVE,
        help_text="`redrive` runs each failed execution again on its release. `resubmit` creates a new one for each, "
        "and the token needs the scope `executions:submit` too. `cancel` and `pause` act on executions that have not "
        "ended.",
    )
    targetReleaseVersion = SegmentIdentifier(
        source="target_release_version",
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="The release of the new executions, which is or was active. Without it, each gets the release that "
        "is active at its time. Only for `resubmit`.",
    )
    from_ = serializers.ChoiceField(
        source="start_from",
        choices=StartFrom.choices,
        required=False,
        default=StartFrom.INPUT.value,
        help_text=f"{START_HELP} Only for `resubmit`.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("filters" in attrs) == ("execution_ids" in attrs):
            raise serializers.ValidationError(
                {"filters": serializers.ErrorDetail("give either filters or executionIds", code="one_selection")}
            )
        return attrs


class CampaignStartRequest(BoundsRequest):
    """Members that are missing keep the value of the draft."""

    reason = Text(max_length=LONGEST_REASON, required=False)
    ratePerMinute = WholeNumber(
        source="rate_per_minute", min_value=1, max_value=HIGHEST_RATE, required=False, help_text=RATE_HELP
    )
    allowRevoked = Flag(
        source="allow_revoked",
        required=False,
        default=False,
        help_text="Also re-drive executions of releases that are revoked now.",
    )
    targetReleaseVersion = SegmentIdentifier(
        source="target_release_version",
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        help_text="The release of the new executions.",
    )
    from_ = serializers.ChoiceField(
        source="start_from", choices=StartFrom.choices, required=False, help_text=START_HELP
    )


class CampaignChangeRequest(StrictSerializer):
    reason = Text(max_length=LONGEST_REASON, required=False, allow_blank=True, default="")


class FoundView(serializers.Serializer[Execution]):
    executionId = serializers.UUIDField(source="id")
    pin = PinView(source="*")
    status = serializers.ChoiceField(choices=STATES)
    version = serializers.IntegerField()
    error = ErrorView(source="*")
    finishedAt = serializers.DateTimeField(source="finished_at")


class ErrorCodeCount(serializers.Serializer[dict[str, Any]]):
    errorCode = serializers.CharField(source="error_code")
    count = serializers.IntegerField()


class ReleaseCount(serializers.Serializer[dict[str, Any]]):
    pin = PinView(source="*")
    count = serializers.IntegerField()


class RevokedReleaseView(serializers.Serializer[RevokedRelease]):
    pipelineId = serializers.CharField(source="pipeline_id")
    contractVersion = serializers.CharField(source="contract_version")
    releaseVersion = serializers.CharField(source="release_version")
    revocationReason = serializers.CharField(source="reason")
    count = serializers.IntegerField()


class PreviewView(serializers.Serializer[Preview]):
    count = serializers.IntegerField()
    replaced = serializers.IntegerField(
        help_text="How many of these a campaign leaves out, because another execution carries on their work."
    )
    executions = FoundView(many=True, help_text="The executions that failed first.")
    byErrorCode = ErrorCodeCount(many=True, source="by_error_code", help_text="The largest groups.")
    byRelease = ReleaseCount(many=True, source="by_release", help_text="The largest groups.")
    revokedReleases = RevokedReleaseView(
        many=True, source="revoked", help_text="A campaign that runs these releases needs `allowRevoked`."
    )


class ProgressView(serializers.Serializer[campaigns.Progress]):
    total = serializers.IntegerField()
    pending = serializers.IntegerField()
    redriven = serializers.IntegerField()
    resubmitted = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    paused = serializers.IntegerField()
    skipped = serializers.IntegerField()
    drafted = serializers.IntegerField(
        help_text="The items that the campaign has. The others of `total` follow while it is DRAFTING."
    )


class ResultsView(serializers.Serializer[Results]):
    running = serializers.IntegerField(help_text="Due, running, or waiting for a retry.")
    waiting = serializers.IntegerField(help_text="Waiting for an answer.")
    succeeded = serializers.IntegerField()
    failedAgain = serializers.IntegerField(source="failed_again")
    cancelled = serializers.IntegerField()
    removed = serializers.IntegerField(help_text="Removed after their retention period.")


class CampaignEventView(serializers.Serializer[CampaignEvent]):
    kind = serializers.CharField()
    actor = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # the member's name; `data` is also a property of DRF
    at = serializers.DateTimeField()


class CampaignSummary(KeywordMembers[Campaign]):
    campaignId = serializers.UUIDField(source="id")
    status = serializers.ChoiceField(choices=Campaign.Status.choices)
    kind = serializers.ChoiceField(choices=Campaign.Kind.choices)
    targetReleaseVersion = serializers.CharField(
        source="target_release_version",
        help_text="Empty for the release that is active at the time of each item, and for re-drives.",
    )
    from_ = serializers.ChoiceField(choices=StartFrom.choices, source="start_from", help_text=START_HELP)
    filters = FiltersView()
    allowFailed = serializers.BooleanField(source="allow_failed")
    allowRevoked = serializers.BooleanField(
        source="allow_revoked", help_text="Whether it runs releases that were revoked before it started."
    )
    reason = serializers.CharField()
    ratePerMinute = serializers.IntegerField(source="rate_per_minute")
    canary = serializers.IntegerField(allow_null=True)
    canaryOver = serializers.BooleanField(
        source="canary_over", help_text="Whether the executions of the canary have ended without a failure."
    )
    stopAfterFailures = serializers.IntegerField(source="stop_after_failures", allow_null=True)
    cause = serializers.SerializerMethodField(help_text="Why the campaign has paused itself. Null if it has not.")
    cut = serializers.BooleanField(help_text="Whether more executions were selected than a draft contains.")
    progress = serializers.SerializerMethodField()
    results = serializers.SerializerMethodField(
        help_text="The outcome of the executions that were re-driven or resubmitted."
    )
    createdBy = serializers.CharField(source="created_by")
    createdAt = serializers.DateTimeField(source="created_at")
    finishedAt = serializers.DateTimeField(source="finished_at", allow_null=True)

    @extend_schema_field(ProgressView)
    def get_progress(self, campaign: Campaign) -> dict[str, Any]:
        progress: dict[uuid.UUID, campaigns.Progress] = self.context["progress"]
        return dict(ProgressView(progress[campaign.pk]).data)

    @extend_schema_field(serializers.ChoiceField(choices=Campaign.Cause.choices, allow_null=True))
    def get_cause(self, campaign: Campaign) -> str | None:
        return campaign.cause or None

    @extend_schema_field(ResultsView)
    def get_results(self, campaign: Campaign) -> dict[str, Any]:
        results: dict[uuid.UUID, Results] = self.context["results"]
        return dict(ResultsView(results[campaign.pk]).data)


class BlockedPipelineView(serializers.Serializer[Any]):
    pipelineId = serializers.CharField()
    code = serializers.CharField(help_text="The code of the error that a submission or a resubmission would get now.")
    detail = serializers.CharField()


class CampaignView(CampaignSummary):
    blocked = serializers.SerializerMethodField(
        help_text="The pipelines whose pending items wait, and why: only if the campaign resubmits and is RUNNING. "
        f"At most {resubmitting.PIPELINES_SHOWN} pipelines are judged."
    )
    events = CampaignEventView(many=True, help_text="The history of the campaign, oldest event first.")

    @extend_schema_field(BlockedPipelineView(many=True))
    def get_blocked(self, campaign: Campaign) -> list[dict[str, Any]]:
        return [
            {"pipelineId": pipeline_id, "code": refusal.code, "detail": refusal.detail}
            for pipeline_id, refusal in resubmitting.waiting(campaign).items()
        ]


class CampaignItemView(serializers.Serializer[CampaignItem]):
    executionId = serializers.UUIDField(source="execution_id")
    expectedVersion = serializers.IntegerField(source="expected_version")
    outcome = serializers.ChoiceField(choices=CampaignItem.Result.choices)
    newExecutionId = serializers.UUIDField(
        source="new_execution_id", allow_null=True, help_text="The execution that resubmits it."
    )
    code = serializers.CharField(help_text="Why the item was skipped.")
    at = serializers.DateTimeField(allow_null=True)
    executionStatus = serializers.SerializerMethodField(
        help_text="The current status of the execution. Null if it was removed after its retention period."
    )

    @extend_schema_field(serializers.ChoiceField(choices=STATES, allow_null=True))
    def get_executionStatus(self, item: CampaignItem) -> str | None:  # noqa: N802 - the name of its field
        return item.execution.status if item.execution else None


def filters_of(members: dict[str, Any]) -> Filters:
    return Filters(**{name: members.get(wire) for name, wire in WIRE_NAMES.items()})


OPTIONS = [field.name for field in fields(Options)]


def options_of(members: Mapping[str, Any]) -> Options:
    """Return the options among the members of a request."""
    known = {name: members[name] for name in OPTIONS if name in members}
    return Options(**{**known, "start_from": StartFrom(known["start_from"])})


def counts_of(page: Sequence[Campaign]) -> dict[str, Any]:
    ids = [campaign.pk for campaign in page]
    return {"progress": campaigns.progress(ids), "results": results(ids)}


def shown(campaign: Campaign) -> dict[str, Any]:
    return dict(CampaignView(campaign, context=counts_of([campaign])).data)
