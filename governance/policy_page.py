"""The policy on the page of a pipeline, and its form."""

import json
from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.forms.utils import flatatt
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from releases import policy
from releases.models import Pipeline
from releases.models.pipeline import DEFAULT, MEMBERS, Member
from tenancy.access import actor
from tenancy.audit.acts import Act
from tenancy.console.base import POST, ReadOnlyAdmin, attempt, serves
from tenancy.roles import Scope
from wire.documents.declarations import MAX_DECLARATIONS_BYTES, flat
from wire.documents.json_reader import read_object
from wire.findings import DocumentError

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
            changes[member.name] = value == ON if member.is_flag else value or None if member.longest else value
        return changes


class _StepPolicies(forms.CharField):
    """The policies of steps as JSON. An empty text changes no step."""

    def clean(self, value: Any) -> dict[str, Any]:
        written = super().clean(value)
        try:
            return read_object(written.encode(), name="", limit=MAX_DECLARATIONS_BYTES) if written else {}
        except DocumentError as error:
            raise forms.ValidationError(str(error)) from None


def _field(member: Member) -> forms.Field:
    if member.choices is not None:
        return forms.ChoiceField(choices=member.choices.choices, required=False)
    if member.longest is not None:
        return forms.CharField(max_length=member.longest, required=False)
    if member.of_steps:
        return _StepPolicies(required=False)
    if member.limits is None:
        return forms.ChoiceField(choices=[(ON, ON), (OFF, OFF)], required=False)
    return (forms.IntegerField if member.is_integer else forms.FloatField)(required=False)


def policy_of(pipeline: Pipeline) -> list[dict[str, Any]]:
    """Return the members of the policy in their order, each with its value and a `text` that says what it means.

    Null is an empty value. A number has the `attributes` of its input.
    """
    rows = []
    for member in MEMBERS:
        value = getattr(pipeline, member.column)
        row = {"member": member, "value": "" if value is None else value, "text": _text(member, value)}
        if member.limits is not None:
            row |= {"value": str(row["value"]), "attributes": _ATTRIBUTES[member.column]}
        elif member.of_steps and value:
            row["value"] = json.dumps(value, ensure_ascii=False, indent=2)
        rows.append(row)
    return rows


def changed_of(pipeline: Pipeline) -> list[tuple[str, str, str]]:
    """Return the title, the value and the default of each member that differs from the policy of a new pipeline."""
    values = ((member, getattr(pipeline, member.column), getattr(_NEW, member.column)) for member in MEMBERS)
    return [
        (member.title, _short(member, value), _short(member, default))
        for member, value, default in values
        if value != default
    ]


def _short(member: Member, value: Any) -> str:
    return str(value) if member.choices is not None else _text(member, value)


_NEW: Final = Pipeline()


def _attributes(member: Member) -> str:
    """Return the attributes of the input of a number, without its value."""
    least, most = (f"{limit:.2f}".rstrip("0").rstrip(".") for limit in member.limits or ())
    return flatatt(
        {
            "id": member.column,
            "name": member.column,
            "type": "number",
            "min": least,
            "max": most,
            "step": "1" if member.is_integer else "any",
            "placeholder": member.unset,
            "required": not member.unset,
        }
    )


_ATTRIBUTES: Final = {member.column: _attributes(member) for member in MEMBERS if member.limits is not None}


def _text(member: Member, value: Any) -> str:
    if member.choices is not None:
        return str(member.choices(value).label)
    if member.longest is not None:
        return value or member.unset
    if member.of_steps:
        return "; ".join(f"{path} = {text}" for path, text in flat({"steps": value}).items()) or "as declared"
    if member.limits is None:
        return "yes" if value else "no"
    return _unset(member) if value is None else f"{value:g}"


def _unset(member: Member) -> str:
    """Return what a null number means: that of the installation's setting if there is one, else `member.unset`."""
    return f"{getattr(settings, member.column.upper()):g}" if member.unset == DEFAULT else member.unset


@serves("<int:object_id>/policy/", Act.POLICY_CHANGE, Scope.ADMINISTER, methods=POST)
def change(pages: ReadOnlyAdmin, request: HttpRequest, pipeline: Pipeline) -> HttpResponse:
    form = PolicyForm(request.POST)

    def save() -> str:
        policy.change(pipeline, form.changes, actor=actor(request.user))
        return f"The policy of {pipeline} was saved."

    if form.is_valid():
        attempt(request, save, "{code}: {detail} Nothing changed.")
    else:
        wrong = "; ".join(_title(column) for column in form.errors)
        messages.error(request, f"The form has values that a policy cannot have: {wrong}. Nothing changed.")
    return redirect(f"{reverse('admin:releases_pipeline_change', args=[pipeline.pk])}?tab=policy")


def _title(column: str) -> str:
    return next(member.title for member in MEMBERS if member.column == column)
