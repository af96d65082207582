"""Dates and times in the time zone of a person."""

from datetime import datetime, tzinfo


def local_text(text: str, zone: tzinfo) -> str | None:
    """Return an ISO 8601 time for a field, in the time zone; None if it is no time. Times without a zone stay."""
    try:
        moment = datetime.fromisoformat(text)
        local = moment if moment.tzinfo is None else moment.astimezone(zone)
    except (ValueError, OverflowError):
        return None
    return local.replace(tzinfo=None).isoformat(timespec="seconds")


def zoned_text(text: str, zone: tzinfo) -> str | None:
    """Return the ISO 8601 time with its offset that a person entered in the time zone; None if it is no time."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).isoformat()
    except (ValueError, OverflowError):
        return None


def is_local(text: str, was: str, zone: tzinfo) -> bool:
    """Return True if `text` is what `local_text` made of `was`. Browsers leave out seconds that are 0."""
    local = local_text(was, zone)
    try:
        return local is not None and datetime.fromisoformat(text) == datetime.fromisoformat(local)
    except (ValueError, TypeError):
        return False
