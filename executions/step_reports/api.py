"""REST: the lines that the steps of an execution wrote, and the items that failed and were collected."""

import uuid
from typing import Any

from django.urls import path
from rest_framework import serializers

from executions.errors import ExecutionUnknown
from executions.lifecycle import queries
from executions.models import FailedItems
from executions.step_reports import failed_items, step_reports
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.audit.acts import declares
from tenancy.roles import Scope
from wire.messages.step_reports import MOST_FAILED_ITEMS


class LineView(serializers.Serializer[step_reports.Line]):
    at = serializers.DateTimeField(help_text="When it was written, by the clock of the worker.")
    level = serializers.CharField(help_text="DEBUG, INFO, WARNING, ERROR or CRITICAL.")
    stepIndex = serializers.IntegerField(source="step_index")
    stepName = serializers.CharField(source="step_name")
    attempt = serializers.IntegerField(help_text="The attempt, counted from 0.")
    item = serializers.IntegerField(
        allow_null=True, help_text="The index of the item of a stream, from 0. Null without one."
    )
    text = serializers.CharField()


class LogView(serializers.Serializer[Any]):
    executionId = serializers.UUIDField(source="execution.pk")
    lines = LineView(many=True)


@operation("executions", "executionLog", LogView, method="GET")
@declares(None, Scope.PAYLOADS)
@refuses(ExecutionUnknown)
def execution_log(view: TenantView, execution_id: uuid.UUID) -> Any:
    """The lines that the steps logged and printed: the newest 200 of each of the newest 20 runs of steps, in order."""
    execution = queries.state(view.tenant, execution_id)
    return {"execution": execution, "lines": step_reports.lines_of(execution)}


class FailedItemView(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="The place of the item in the stream, from 0.")
    error = serializers.CharField(help_text="The class of the exception, or a code such as INVALID_STEP_OUTPUT.")
    message = serializers.CharField()
    tries = serializers.IntegerField(help_text="How often the step was called for the item.")
    item = serializers.JSONField(required=False, help_text="Missing if it was too large to be stored.")


class FailedItemsView(serializers.Serializer[FailedItems]):
    stepIndex = serializers.IntegerField(source="step_index")
    stepName = serializers.SerializerMethodField(help_text="Empty if the contract does not name it.")
    failed = serializers.IntegerField(help_text="The number of failed items.")
    items = serializers.ListField(
        child=FailedItemView(), help_text=f"The first {MOST_FAILED_ITEMS:,} of them, in the order of the stream."
    )

    def get_stepName(self, row: FailedItems) -> str:  # noqa: N802 - the name of the member
        return row.execution.step_at(row.step_index).name


class FailingStepsView(serializers.Serializer[Any]):
    steps = FailedItemsView(many=True, help_text="The steps at which items failed and were collected.")


@operation("executions", "executionFailedItems", FailingStepsView, method="GET")
@declares(None, Scope.PAYLOADS)
@refuses(ExecutionUnknown)
def execution_failed_items(view: TenantView, execution_id: uuid.UUID) -> Any:
    """The items that failed and were collected. `POST …/resubmit` with `"from": "items"` runs them again."""
    return {"steps": failed_items.of_execution(queries.execution(view.tenant, execution_id))}


urlpatterns = [
    path("executions/<uuid:execution_id>/log", execution_log, name="execution-log"),
    path("executions/<uuid:execution_id>/failed-items", execution_failed_items, name="execution-failed-items"),
]
