"""What users keep for the pages of the admin: their time zone, and saved views, which are searches under a name."""

from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet

from foundation.database.postgresql.outage import refused_by
from foundation.errors import Conflict, InvalidRequest, NotFound
from tenancy import audit
from tenancy.access import actor, record_of_user, require, tenants_of
from tenancy.audit.acts import Act
from tenancy.models import Preferences, SavedView, Tenant
from tenancy.roles import Scope
from wire.identity import RULE, is_identifier

UTC: Final = "UTC"
LONGEST_NAME = 60
LONGEST_QUERY = 2000
MOST = 50
"""How many views a person, and how many a tenant has at most on one page."""
_ONCE = {"saved_view_own_once", "saved_view_shared_once"}


# --- saved views ---


class ViewNameTaken(Conflict, title="There is already a view with this name"):
    """Choose another name."""


class TooManyViews(Conflict, title="There are too many saved views"):
    """Remove a view."""


def views(person: User, page: SavedView.Page) -> QuerySet[SavedView]:
    """Return the person's own views, and those that the tenants of the person share, by name."""
    shared = Q(tenant__in=tenants_of(person))
    return SavedView.objects.filter(Q(owner=person, tenant=None) | shared, page=page).select_related("tenant")


def save_view(person: User, page: SavedView.Page, name: str, query: str, *, tenant: Tenant | None) -> SavedView:
    """Save a view. If `tenant` is not None, share it with its members. The caller has checked the query.

    Raises `InvalidRequest`, `ViewNameTaken`, `TooManyViews`, and as `require` does if the person may not operate in the
    tenant.
    """
    if not is_identifier(name) or len(name) > LONGEST_NAME:
        raise _invalid("name", f"{RULE} and at most {LONGEST_NAME} characters")
    if len(query) > LONGEST_QUERY:
        raise _invalid("query", f"has at most {LONGEST_QUERY} characters")
    if tenant is not None:
        require(person, tenant, Scope.OPERATE)
    kept = SavedView.objects.filter(page=page, tenant=tenant)
    if tenant is None:
        kept = kept.filter(owner=person)
    if kept.count() >= MOST:
        raise TooManyViews(f"There are at most {MOST} views. Remove one first.")
    taken = ViewNameTaken(f"There is already a view named {name!r}.")
    with refused_by(_ONCE, lambda: taken), transaction.atomic():
        view = SavedView.objects.create(owner=person, tenant=tenant, page=page, name=name, query=query)
        _audit(Act.SAVED_VIEW_SAVE, person, view)
    return view


def removable_view(person: User, view_id: int) -> SavedView:
    """Return an own view, or one that is shared with a tenant in which the person may operate.

    Raises `NotFound` if the person has no such view, and `ScopeMissing`.
    """
    view = SavedView.objects.select_related("tenant").filter(pk=view_id).first()
    if view is None or (view.tenant is None and view.owner_id != person.pk):
        raise NotFound("There is no such view.")
    if view.tenant is not None:
        require(person, view.tenant, Scope.OPERATE)
    return view


def remove_view(person: User, view_id: int) -> SavedView:
    """Remove a view that is `removable_view`. Raises as that does."""
    with transaction.atomic():
        view = removable_view(person, view_id)
        if SavedView.objects.filter(pk=view_id).delete()[0]:
            _audit(Act.SAVED_VIEW_REMOVE, person, view)
    return view


def _audit(act: Act, person: User, view: SavedView) -> None:
    audit.record(act, tenant=view.tenant, actor=actor(person), object=view.name, page=view.page)


def _invalid(field: str, rule: str) -> InvalidRequest:
    errors = [{"field": field, "code": "INVALID", "message": rule}]
    return InvalidRequest(f"{field} {rule}", errors=errors)


# --- time zones ---


@cache
def zones() -> tuple[str, ...]:
    """Return the names of all time zones: UTC first, then by name."""
    names = (name for name in available_timezones() if name != UTC and "/" in name and not name.startswith("Etc/"))
    return (UTC, *sorted(names))


def zone_of(user: User) -> ZoneInfo:
    """Return the zone of a user: UTC if they chose none, or if this system no longer knows it."""
    name = Preferences.objects.filter(user=user.pk).values_list("time_zone", flat=True).first()
    try:
        return ZoneInfo(name or UTC)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo(UTC)


def choose_zone(user: User, name: str) -> None:
    """Store the time zone of a user. Raises `ValueError` unless it is one of `zones`."""
    if name not in zones():
        raise ValueError(f"There is no time zone {name!r}.")
    with transaction.atomic():
        Preferences.objects.update_or_create(user=user, defaults={"time_zone": name})
        record_of_user(Act.USER_TIME_ZONE, user, timeZone=name)
