"""Stores typed payloads as they travelled, in addition to the plain JSON that the domain uses."""

from django.db import models

from executions.models.execution import Execution


class WireForm(models.Model):
    """The input as it was submitted, and the outputs as a REST worker sent them (wire protocol C.2, C.3).

    `input` is a snapshot with its payloads, `result` a list of payloads. Each is null if it did not travel in typed
    payloads, and is written once, in the transaction that accepts or ends the execution.
    """

    execution = models.OneToOneField(Execution, on_delete=models.PROTECT, primary_key=True, related_name="wire_form")
    input = models.JSONField(null=True)
    result = models.JSONField(null=True)

    def __str__(self) -> str:
        return str(self.execution_id)
