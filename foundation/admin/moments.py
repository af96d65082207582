"""A form field for a moment, in the time zone of the user."""

from datetime import UTC, datetime
from typing import Any

from django import forms


class MomentField(forms.DateTimeField):
    """Returns the moment in UTC. Moments that are in no year of UTC are invalid, because PostgreSQL rejects them."""

    def to_python(self, value: Any) -> datetime | None:
        at = super().to_python(value)
        try:
            return at.astimezone(UTC) if at else None
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None
