"""The members of a request that submits an execution."""

from typing import Any, ClassVar, Final

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from executions.models import LONGEST_TAG, MOST_TAGS
from executions.models.states import PRIORITIES
from executions.submission.requests import MOST_DAYS
from executions.submission.submission import LONGEST_WAIT_SECONDS
from foundation.api.fields import (
    Identifier,
    Moment,
    SegmentIdentifier,
    StrictSerializer,
    Text,
    WholeNumber,
    plain_check,
)
from releases.models import IDENTITY_LENGTH
from releases.models.pipeline import LONGEST_CHANNEL

MAX_KEY_LENGTH: Final = 200
_WITH_RELEASE: Final = {"required": ["releaseVersion"], "properties": {"releaseVersion": {"type": "string"}}}


def _without(name: str) -> dict[str, Any]:
    return {"properties": {name: {"type": "null"}}}


class _UsualRequest(StrictSerializer):
    """The members that most submissions have. They are checked without the serializer."""

    pipelineId = SegmentIdentifier(max_length=IDENTITY_LENGTH)
    input = serializers.JSONField(
        help_text="The first step's input. If that step takes many items, this is an array of them."
    )
    idempotencyKey = Identifier(
        max_length=MAX_KEY_LENGTH, help_text="A repeated key with an equal input returns the first execution."
    )
    expectedReleaseVersion = SegmentIdentifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="Reject the request unless this release is active. A candidate never gets such an execution.",
    )
    routingKey = Identifier(
        max_length=MAX_KEY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="During a gradual activation, equal keys get the same release. By default, the idempotency key.",
    )
    tags = serializers.ListField(
        child=Identifier(max_length=LONGEST_TAG),
        max_length=MOST_TAGS,
        required=False,
        default=list,
        help_text="Names that are stored with the execution. A gradual activation can route by them.",
    )


class SubmissionRequest(_UsualRequest):
    schema_rules: ClassVar = {
        "dependentSchemas": {
            "expectedReleaseVersion": {"anyOf": [_without("expectedReleaseVersion"), _without("releaseVersion")]},
            "waitSeconds": {"anyOf": [{"properties": {"waitSeconds": {"const": 0}}}, _WITH_RELEASE]},
        }
    }

    releaseVersion = SegmentIdentifier(
        max_length=IDENTITY_LENGTH,
        required=False,
        allow_null=True,
        default=None,
        help_text="Run this release. It must be active, or have been replaced within the pipeline's "
        "`skewGraceMinutes`. Excludes `expectedReleaseVersion`.",
    )
    notify = Text(
        max_length=LONGEST_CHANNEL,
        required=False,
        allow_null=True,
        default=None,
        help_text="The name of an alert channel that gets a message when the execution has ended.",
    )
    notBefore = Moment(
        required=False,
        allow_null=True,
        help_text=f"The execution is due at this time, at most {MOST_DAYS} days from now, and starts then or later.",
    )
    expiresAt = Moment(
        required=False,
        allow_null=True,
        help_text="If no worker got the execution by this time, it is CANCELLED with the error code EXPIRED.",
    )
    priority = serializers.ChoiceField(
        choices=[*PRIORITIES],
        required=False,
        help_text="Whether it starts before or after other due executions of its release. By default `normal`. No "
        "priority waits forever.",
    )
    waitSeconds = WholeNumber(
        min_value=0,
        max_value=LONGEST_WAIT_SECONDS,
        required=False,
        help_text="How long to wait for the first activation of `releaseVersion`. By default, and in a batch, 0.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["releaseVersion"] is None and attrs.get("waitSeconds"):
            raise ValidationError({"waitSeconds": ["needs releaseVersion"]})
        if attrs["releaseVersion"] is not None and attrs["expectedReleaseVersion"] is not None:
            raise ValidationError({"releaseVersion": ["excludes expectedReleaseVersion"]})
        return attrs


is_plain = plain_check(_UsualRequest())
