"""REST: an execution in words."""

import uuid
from typing import Any

from django.urls import path
from rest_framework import serializers

from executions.errors import ExecutionUnknown
from executions.explanation.explanation import Entry, Explanation, explain
from executions.inspection.api import PinView
from executions.lifecycle import queries
from executions.models.states import State
from releases.models import Artifact
from tenancy.api.authentication import WITHHELD, holds_any
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.roles import Scope


class PinnedArtifactView(serializers.Serializer[Artifact]):
    artifactId = serializers.CharField(source="artifact_id")
    digest = serializers.CharField()


class EntryErrorView(serializers.Serializer[Entry]):
    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message", allow_null=True, help_text=WITHHELD)


class EntryView(serializers.Serializer[Entry]):
    kind = serializers.CharField()
    at = serializers.DateTimeField()
    endedAt = serializers.DateTimeField(source="ended_at", allow_null=True, help_text="Null if it has not ended.")
    text = serializers.CharField(help_text="What happened, in one line.")
    stepName = serializers.CharField(source="step.name", default=None, allow_null=True)
    stepIndex = serializers.IntegerField(source="step.index", default=None, allow_null=True)
    attempt = serializers.IntegerField(allow_null=True, help_text="Counted from 1.")
    worker = serializers.CharField(help_text="Empty if no worker took part.")
    artifactDigest = serializers.CharField(source="artifact_digest", allow_null=True)
    environment = serializers.CharField(allow_null=True)
    durablePipelines = serializers.CharField(
        source="durable_pipelines",
        allow_null=True,
        help_text="The version of `durable-pipelines` in that environment. Null if unknown.",
    )
    error = EntryErrorView(source="failure", allow_null=True)
    traceback = serializers.ListField(
        child=serializers.CharField(), help_text="In lines. Empty without the scope `payloads:read`."
    )


class ExplanationView(serializers.Serializer[Explanation]):
    executionId = serializers.UUIDField(source="execution.id")
    status = serializers.ChoiceField(choices=[state.value for state in State], source="execution.status")
    pin = PinView(source="execution")
    artifacts = PinnedArtifactView(many=True, help_text="The artifacts that the release pins.")
    now = serializers.ListField(child=serializers.CharField(), help_text="What it does now, or how it ended.")
    next = serializers.ListField(
        child=serializers.CharField(), source="following", help_text="What follows, or what prevents it."
    )
    code = serializers.ListField(child=serializers.CharField(), help_text="Which code ran which steps, and where.")
    history = EntryView(many=True, help_text="What happened, in the order of the starts: the newest entries.")
    omitted = serializers.BooleanField(help_text="Whether there are older entries.")


@operation("executions", "executionExplanation", ExplanationView, method="GET")
@refuses(ExecutionUnknown)
def execution_explanation(view: TenantView, execution_id: uuid.UUID) -> Any:
    """An execution in words: which code ran each step, when and where, what it waited for, and what happens next.

    The sentences are for people and may change. Programs read the other members.
    """
    execution = queries.state(view.tenant, execution_id)
    return explain(execution, payloads=holds_any(view.request.auth, Scope.PAYLOADS))


urlpatterns = [
    path("executions/<uuid:execution_id>/explanation", execution_explanation, name="execution-explanation"),
]
