"""Names of rules and channels: once for each tenant, among those that were not removed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import IntegrityError

from alerts.errors import AlertNameTaken
from alerts.models.channel import LONGEST_NAME
from foundation.database.postgresql.outage import violated_constraint
from wire.identifying import RULE, is_identifier

_ONCE: Final = {"alert_channel_name_once", "alert_rule_name_once"}


def wrong_name(name: str) -> str:
    """Return what is wrong with a name; "" if it is valid."""
    if not is_identifier(name):
        return RULE
    return "" if len(name) <= LONGEST_NAME else f"must have at most {LONGEST_NAME} characters"


@contextmanager
def named_once(name: str) -> Iterator[None]:
    """Raise `AlertNameTaken` if the block writes a name that is taken."""
    try:
        yield
    except IntegrityError as error:
        if violated_constraint(error) not in _ONCE:
            raise
        raise AlertNameTaken(f"The name {name!r} is taken.") from None
