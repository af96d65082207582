"""What a user has chosen for the pages of the admin."""

from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from django.contrib.auth.models import User
from django.db import transaction

from tenancy.access import record_of_user
from tenancy.audit.acts import Act
from tenancy.models import Preferences

UTC: Final = "UTC"


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
