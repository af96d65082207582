"""Calls of other pipelines as steps: an await whose answer is the result of a child execution (ADR 129)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from pipelines.errors import DefinitionError
from wire.identity import is_identifier

PIPELINE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
LONGEST_RELEASE: Final = 500


class Active(Enum):
    """The type of ``ACTIVE``."""

    ACTIVE = "the active release"


ACTIVE: Final = Active.ACTIVE
"""The release of a child pipeline that is active when the child is submitted."""


@dataclass(frozen=True, slots=True)
class ChildCall:
    """The pipeline that an await calls. ``release`` is None for the release that is active at the time of the call."""

    pipeline_id: str
    release: str | None

    @property
    def members(self) -> dict[str, Any]:
        """The members of the contract's step."""
        named = {} if self.release is None else {"callsRelease": self.release}
        return {"callsPipeline": self.pipeline_id, **named}


def checked(name: str, pipeline_id: str, release: str | Active) -> ChildCall:
    """Return a valid call. Raises ``DefinitionError``: INVALID_PIPELINE_ID, INVALID_RELEASE."""
    if not isinstance(pipeline_id, str) or not PIPELINE_ID.fullmatch(pipeline_id):
        raise DefinitionError(
            "INVALID_PIPELINE_ID",
            f'"{name}" calls {pipeline_id!r}, which is not a pipeline id; write one such as "org.acme.refunds"',
        )
    if release is ACTIVE:
        return ChildCall(pipeline_id, None)
    if (
        isinstance(release, str)
        and 0 < len(release) <= LONGEST_RELEASE
        and is_identifier(release)
        and "/" not in release
    ):
        return ChildCall(pipeline_id, release)
    raise DefinitionError(
        "INVALID_RELEASE",
        f'"{name}" calls release {release!r} of {pipeline_id}; write release=ACTIVE, or a version such as "1.4.2"',
    )
