"""REST: the lines that the steps of an execution wrote, and their progress."""

import uuid
from typing import Any

from django.urls import path
from rest_framework import serializers

from executions.errors import ExecutionUnknown
from executions.lifecycle import queries
from executions.step_reports import step_reports
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.audit.acts import declares
from tenancy.roles import Scope


class LineView(serializers.Serializer[step_reports.Line]):
    at = serializers.DateTimeField(help_text="When it was written, by the clock of the worker.")
    level = serializers.CharField(help_text="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    stepIndex = serializers.IntegerField(source="step_index")
    stepName = serializers.CharField(source="step_name")
    attempt = serializers.IntegerField(help_text="The attempt, counted from 0.")
    item = serializers.IntegerField(allow_null=True, help_text="The index of the item of a stream. Null without one.")
    text = serializers.CharField()


class LogView(serializers.Serializer[Any]):
    executionId = serializers.UUIDField(source="execution.pk")
    lines = LineView(many=True)


@operation("executions", "executionLog", LogView, method="GET")
@declares(None, Scope.PAYLOADS)
@refuses(ExecutionUnknown)
def execution_log(view: TenantView, execution_id: uuid.UUID) -> Any:
    """The lines that the steps logged and printed: the newest 200 of each of the newest 20 transitions, in order."""
    execution = queries.state(view.tenant, execution_id)
    return {"execution": execution, "lines": step_reports.lines_of(execution)}


urlpatterns = [path("executions/<uuid:execution_id>/log", execution_log, name="execution-log")]
