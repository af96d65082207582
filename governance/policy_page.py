"""The policy on the page of a pipeline: what it says, and the form that changes it."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from releases import policy
from releases.models import Pipeline
from releases.models.pipeline import MEMBERS, Member
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import POST, ReadOnlyAdmin, attempt, serves
from tenancy.roles import Scope

ON, OFF = "on", "off"


class PolicyForm(forms.Form):
    """A field for each member of the policy. What is not sent does not change; an empty number becomes the default."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.fields.update({member.column: _field(member) for member in MEMBERS})

    @property
    def changes(self) -> dict[str, Any]:
        """The members that were sent. The form is valid."""
        changes = {}
        for member in MEMBERS:
            value = self.cleaned_data[member.column]
            if member.column not in self.data or (value in (None, "") and not member.unset):
                continue
            changes[member.name] = value == ON if member.choices is None and member.limits is None else value
        return changes


def _field(member: Member) -> forms.Field:
    if member.choices is not None:
        return forms.ChoiceField(choices=member.choices.choices, required=False)
    if member.limits is None:
        return forms.ChoiceField(choices=[(ON, ON), (OFF, OFF)], required=False)
    return (forms.IntegerField if member.is_integer else forms.FloatField)(required=False)


def shown(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return the members of the policy in their order, each with its value and a `text` that says what it means."""
    rows = [(member, getattr(pipeline, member.column)) for member in MEMBERS]
    return [
        {"member": member, "value": value, "text": _text(member, value), "step": "1" if member.is_integer else "any"}
        for member, value in rows
    ]


def _text(member: Member, value: Any) -> str:
    if member.choices is not None:
        return str(member.choices(value).label)
    if member.limits is None:
        return "yes" if value else "no"
    return member.unset if value is None else f"{value:g}"


@serves("<int:object_id>/policy/", Act.POLICY_CHANGE, Scope.ADMINISTER, methods=POST)
def change(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> HttpResponse:
    form = PolicyForm(request.POST)

    def save() -> str:
        policy.change(pipeline, form.changes, actor=actor(request.user))
        return f"The policy of {pipeline} was saved."

    if form.is_valid():
        attempt(request, save, "{error.code}: {error.detail}. Nothing changed.")
    else:
        wrong = "; ".join(_title(column) for column in form.errors)
        messages.error(request, f"The form has values that a policy cannot have: {wrong}. Nothing changed.")
    return redirect("admin:releases_pipeline_change", pipeline.pk)


def _title(column: str) -> str:
    return next(member.title for member in MEMBERS if member.column == column)
