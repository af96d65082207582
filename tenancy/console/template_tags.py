"""Template tags of the admin's pages: times, and buttons of acts that only some roles may do."""

from datetime import datetime
from typing import Any

from django import template
from django.urls import reverse
from django.utils.safestring import SafeString

from foundation.admin import columns
from tenancy.roles import Scope, roles_granting

register = template.Library()
register.simple_tag(columns.label)


@register.simple_tag
def when(at: datetime | None) -> SafeString | str:
    """Show a time; "never" for None."""
    return columns.timed(at) or "never"


@register.filter
def words(name: str) -> str:
    """Show a name such as ONE_TO_MANY in words."""
    return name.replace("_", " ").lower()


@register.inclusion_tag("parts/act.html")
def act(
    view: str,
    row: Any,
    label: str,
    icon: str,
    scope: str,
    *,
    allowed: bool,
    variant: str = "default",
    refusal: str = "",
) -> dict[str, Any]:
    """Show a link to an act, as a button. If it is not possible, the button is disabled and says why.

    `view` is the name of the act's page in the admin and `row` is its argument. The act needs `scope`; `allowed` is
    true if the user has it. `refusal` says why the act is not possible now; it may be empty.
    """
    why_not = refusal or ("" if allowed else denial_of(scope))
    address = reverse(f"admin:{view}", args=[row])
    return {"address": address, "label": label, "icon": icon, "variant": variant, "why_not": why_not, "id": row}


@register.inclusion_tag("parts/act.html")
def denied(label: str, icon: str, scope: str = "", *, refusal: str = "") -> dict[str, Any]:
    """Show a disabled button in place of a form that the user may not send. It says which roles grant `scope`.

    `refusal` says why the act is not possible now; it may be empty.
    """
    return {"label": label, "icon": icon, "why_not": refusal or denial_of(scope)}


@register.simple_tag
def payload_readers() -> str:
    """Name the roles that may read payloads."""
    names = [role.label.lower() for role in roles_granting(Scope.PAYLOADS)]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def denial_of(scope: str) -> str:
    roles = [role.label.lower() for role in roles_granting(Scope(scope))]
    return f"Your role may not do this. These roles may: {', '.join(roles)}."
