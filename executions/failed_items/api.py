"""REST: the items of an execution that failed and were collected."""

import uuid
from typing import Any

from django.urls import path
from rest_framework import serializers

from executions.errors import ExecutionUnknown
from executions.failed_items import failed_items
from executions.lifecycle import queries
from executions.models import FailedItems
from tenancy.api.operations import TenantView, operation, refuses
from tenancy.audit.acts import declares
from tenancy.roles import Scope
from wire.messages.step_reports import MOST_FAILED_ITEMS


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
    path("executions/<uuid:execution_id>/failed-items", execution_failed_items, name="execution-failed-items"),
]
