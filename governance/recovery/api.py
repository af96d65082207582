"""REST: the recovery from a bad release: what it accepted, what can continue elsewhere, drafts, and the record."""

import json
from typing import Any

from django.urls import path
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.response import Response

from executions import errors
from executions.inspection.counts import MOST_READ
from executions.models import Campaign
from executions.models.states import State
from executions.statistics import OFTEN_PERCENT
from foundation.api.fields import Flag, SegmentIdentifier, StrictSerializer, Text
from foundation.api.pagination import require_known
from foundation.errors import InvalidRequest, require_valid
from governance.campaigns import documents
from governance.recovery import continuation, record, recovery
from governance.recovery.continuation import POSITION, Continuation, Group, Position, Reason, Verdict
from governance.recovery.record import CampaignResult, Record
from governance.recovery.recovery import Accepted, Part, Recovery
from releases import queries
from releases.errors import PipelineUnknown, ReleaseUnknown
from releases.models import IDENTITY_LENGTH, Release
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.audit.acts import Act, declares
from tenancy.models import AuditEntry
from tenancy.roles import Scope

TARGET_REFUSALS = (errors.ReleaseNotAdmitted, errors.CampaignTargetInvalid)
NO_POSITION = "must be the `next` of a check"
PARTS = [part.value for part in Part]
VERDICTS = [verdict.value for verdict in Verdict]


class StateCountView(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=[state.value for state in State])
    count = serializers.IntegerField()


class AcceptedPartView(serializers.Serializer[Accepted]):
    part = serializers.ChoiceField(choices=PARTS)
    count = serializers.IntegerField()
    complete = serializers.BooleanField(source="is_complete", help_text="If it is false, there may be more.")
    statuses = StateCountView(many=True, source="counts")
    kinds = serializers.ListField(
        child=serializers.ChoiceField(choices=Campaign.Kind.choices), help_text="The campaigns that can act on them."
    )


class RecoveryView(serializers.Serializer[Recovery]):
    releaseVersion = serializers.CharField(source="release.release_version")
    activeReleaseVersion = serializers.CharField(source="active.release_version", allow_null=True, default=None)
    isActive = serializers.BooleanField(source="is_active", help_text="Whether new executions still get it.")
    paused = serializers.SerializerMethodField(help_text="Whether the release or its pipeline is paused.")
    accepted = AcceptedPartView(many=True)
    unresolvedFailures = serializers.IntegerField(
        source="unresolved",
        help_text=f"The failed executions whose work no other one carries on. At most {MOST_READ:,} are counted.",
    )
    targets = serializers.SerializerMethodField(
        help_text="The versions of the registered releases that were active: the newest activation first, and those of"
        f" which {OFTEN_PERCENT:.0f} % or more of the executions failed last."
    )
    openCampaigns = serializers.SerializerMethodField(
        help_text="The newest campaigns over executions of this release that are open, with drafts."
    )

    def get_paused(self, recovered: Recovery) -> bool:
        return recovered.hold is not None

    def get_targets(self, recovered: Recovery) -> list[str]:
        return [target.release.release_version for target in recovered.targets]

    @extend_schema_field(serializers.ListField(child=serializers.UUIDField()))
    def get_openCampaigns(self, recovered: Recovery) -> list[str]:  # noqa: N802 - the name of its field
        return [str(campaign.pk) for campaign in recovered.open_campaigns]


class ReasonView(serializers.Serializer[Reason]):
    text = serializers.CharField()
    count = serializers.IntegerField()
    exampleExecutionId = serializers.UUIDField(source="example")


class GroupView(serializers.Serializer[Group]):
    start = serializers.ChoiceField(
        source="verdict",
        choices=VERDICTS,
        help_text="Where a new execution can start: after the checkpoint, with the input, or not.",
    )
    count = serializers.IntegerField()
    executionIds = serializers.ListField(child=serializers.UUIDField(), source="executions")
    reasons = ReasonView(many=True, help_text="Why they cannot start further on. The most frequent ones.")


class ContinuationView(serializers.Serializer[Continuation]):
    targetReleaseVersion = serializers.CharField(source="target.release_version")
    checked = serializers.IntegerField(
        help_text=f"How many failed executions were checked: those that failed first after `after`, at most "
        f"{continuation.MOST_CHECKED}. Those whose work another one carries on are left out."
    )
    complete = serializers.BooleanField(source="is_complete")
    next = serializers.CharField(allow_null=True, help_text="The `after` of the next check. Null if there are no more.")
    waits = serializers.CharField(
        help_text="Why the target accepts no executions now, so that a campaign would wait. Empty if it accepts them."
    )
    groups = GroupView(many=True)


class PositionText(Text):
    pattern = POSITION


class DraftRequest(StrictSerializer):
    part = serializers.ChoiceField(choices=PARTS)
    kind = serializers.ChoiceField(choices=Campaign.Kind.choices)
    targetReleaseVersion = SegmentIdentifier(
        source="target", max_length=IDENTITY_LENGTH, required=False, help_text="Only for `resubmit`, which requires it."
    )
    start = serializers.ChoiceField(
        source="verdict",
        choices=VERDICTS,
        required=False,
        default=Verdict.CHECKPOINT.value,
        help_text="Only for `resubmit`: the draft has the executions that can start there.",
    )
    after = PositionText(
        required=False,
        max_length=continuation.LONGEST_POSITION,
        help_text="Only for `resubmit`: the `after` of the check whose executions the draft has.",
    )
    every = Flag(
        required=False,
        default=False,
        help_text="Only for `resubmit`: the draft has all failed executions, also those that were not checked. The "
        "campaign checks each one, and skips those that cannot start there.",
    )

    def validate_after(self, text: str) -> Position:
        position = Position.parse(text)
        if position is None:
            raise serializers.ValidationError(NO_POSITION, code="position")
        return position


class CampaignResultView(serializers.Serializer[CampaignResult]):
    status = serializers.ChoiceField(choices=Campaign.Status.choices)
    progress = documents.ProgressView()
    results = documents.ResultsView()


class RecordEntryView(serializers.Serializer[AuditEntry]):
    sequence = serializers.IntegerField(help_text="The number of the entry in the audit log of the tenant.")
    at = serializers.DateTimeField()
    actor = serializers.CharField()
    person = serializers.SerializerMethodField(
        help_text="The user who stands behind the actor, such as the owner of a token. Null if unknown."
    )
    act = serializers.CharField()
    object = serializers.CharField()
    reason = serializers.CharField()
    details = serializers.SerializerMethodField()
    result = serializers.SerializerMethodField(
        help_text="What the campaign has done, and the outcome: at the last entry that drafted or started it. "
        f"Null for other entries, and without the newest {record.RESULTS_READ} campaigns."
    )

    def get_person(self, entry: AuditEntry) -> str | None:
        person: str | None = self.context["record"].person(entry)
        return person

    @extend_schema_field(CampaignResultView(allow_null=True))
    def get_result(self, entry: AuditEntry) -> Any:
        result = self.context["record"].results.get(entry.sequence)
        return CampaignResultView(result).data if result else None

    def get_details(self, entry: AuditEntry) -> dict[str, Any]:
        details: dict[str, Any] = json.loads(entry.details)
        return details


class RecordView(serializers.Serializer[Record]):
    since = serializers.DateTimeField(help_text="When the release first got new executions.")
    complete = serializers.BooleanField(source="is_complete", help_text="If it is false, older entries are left out.")
    items = RecordEntryView(many=True, source="entries", help_text="Entries of the audit log, oldest first.")


def _release(view: TenantView, pipeline_id: str, release_version: str) -> Release:
    return queries.release(queries.pipeline(view.tenant, pipeline_id), release_version)


@operation("releases", "recovery", RecoveryView, method="GET")
@refuses(PipelineUnknown, ReleaseUnknown)
def one_recovery(view: TenantView, pipeline_id: str, release_version: str) -> Any:
    """What a release accepted, by the state of its executions, and which releases may take over."""
    return recovery.recovery(_release(view, pipeline_id, release_version))


@operation("releases", "continuation", ContinuationView, method="GET")
@extend_schema(
    parameters=[
        OpenApiParameter("to", {"type": "string", "minLength": 1}, description="By default the first target."),
        OpenApiParameter(
            "after",
            {"type": "string", "pattern": POSITION},
            description="The `next` of the check before. By default, those that failed first are checked.",
        ),
    ]
)
@declares(None, Scope.PAYLOADS)
@refuses(InvalidRequest, PipelineUnknown, ReleaseUnknown, *TARGET_REFUSALS)
def release_continuation(view: TenantView, pipeline_id: str, release_version: str) -> Any:
    """Which failed executions of a release can continue on another one, and why the others cannot."""
    require_known(view.request, ("to", "after"))
    release, sent = _release(view, pipeline_id, release_version), view.request.query_params
    after = Position.parse(sent["after"]) if "after" in sent else None
    require_valid(InvalidRequest, {"after": NO_POSITION if after is None and "after" in sent else ""})
    return continuation.continuation(release, _target(release, sent.get("to")), after)


def _target(release: Release, version: str | None) -> Release:
    if version is not None:
        return recovery.target_of(release, version)
    targets = recovery.targets(release)
    if not targets:
        raise ReleaseUnknown(f"No other release of {release.pipeline.pipeline_id!r} was active.")
    return targets[0].release


@operation("releases", "draftRecovery", {201: documents.CampaignView}, body=DraftRequest)
@declares(Act.CAMPAIGN_DRAFT, Scope.OPERATE)
@refuses(PipelineUnknown, ReleaseUnknown, errors.TenantNotAllowed, errors.CampaignEmpty, *TARGET_REFUSALS)
def draft_recovery(
    view: TenantView,
    pipeline_id: str,
    release_version: str,
    part: str,
    kind: str,
    target: str = "",
    verdict: str = "",
    after: Position | None = None,
    every: bool = False,
) -> Any:
    """Freeze the executions of a part as the draft of a campaign. Nothing is done until the draft is started."""
    if kind == Campaign.Kind.RESUBMIT:
        view.require(Scope.SUBMIT)
    release = _release(view, pipeline_id, release_version)
    made = recovery.draft(
        release,
        Part(part),
        Campaign.Kind(kind),
        actor=view.actor,
        target=recovery.target_of(release, target) if target else None,
        verdict=Verdict(verdict),
        after=after,
        every=every,
    )
    return Response(documents.shown(made), status=status.HTTP_201_CREATED)


@operation("releases", "recoveryRecord", RecordView, method="GET", context=lambda shown: {"record": shown})
@refuses(PipelineUnknown, ReleaseUnknown)
def recovery_record(view: TenantView, pipeline_id: str, release_version: str) -> Any:
    """Who did what about a release since it first got new executions, and the result of each campaign."""
    return record.record(_release(view, pipeline_id, release_version))


# The route of a release accepts every path below it, so these do too.
_RECOVERY = "pipelines/<str:pipeline_id>/releases/<path:release_version>/recovery"
urlpatterns = [
    path(_RECOVERY, one_recovery, name="recovery"),
    path(f"{_RECOVERY}/continuation", release_continuation, name="recovery-continuation"),
    path(f"{_RECOVERY}/drafts", draft_recovery, name="recovery-drafts"),
    path(f"{_RECOVERY}/record", recovery_record, name="recovery-record"),
]
