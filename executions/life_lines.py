"""Log lines about executions that take their course: accepted, claimed, recorded, cancelled.

Work that is done for a group of executions of one release is one line, with the ids of all, because a line takes about
as long as a small query. Failures have separate lines. Call this after the commit.
"""

import logging
import uuid
from collections.abc import Iterable
from typing import Final

from django.conf import settings

log = logging.getLogger(__name__)
MOST_IDS: Final = 100
"""How many ids a line has at most: some receivers of logs cut lines of more than 4 kB."""

Pin = tuple[str, str, str]
"""A tenant, a pipeline and a release version."""


def write(event: str, executions: Iterable[tuple[Pin, uuid.UUID]]) -> None:
    """Write a line about `event` for each release, or several if its executions are many."""
    if not (settings.LOG_EXECUTIONS and log.isEnabledFor(logging.INFO)):
        return
    ids: dict[Pin, list[uuid.UUID]] = {}
    for pin, execution in executions:
        ids.setdefault(pin, []).append(execution)
    for (tenant, pipeline, release), found in ids.items():
        fields = {"tenant": tenant, "pipeline": pipeline, "release": release}
        for start in range(0, len(found), MOST_IDS):
            part = found[start : start + MOST_IDS]
            name = "execution" if len(part) == 1 else "executions"
            log.info(event, extra={**fields, name: ",".join(map(str, part))})
