"""Awaits, timers and calls of other pipelines (ADR 129) as an author defines them, and the checks of their options."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from pipelines.errors import DefinitionError
from wire.addresses import is_web_address
from wire.documents.contract import AUTOMATIC
from wire.identity import LONGEST_GROUP, is_identifier, step_id
from wire.messages.celery_messages import LONGEST_RECIPIENT, LONGEST_WAIT

AWAIT_TRANSPORTS: Final = ("interaction-api", "webhook")
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


@dataclass(frozen=True, slots=True)
class Await:
    """A boundary at which an execution waits for a response from outside.

    ``request`` and ``response`` are type hints. ``timeout`` counts from the moment of suspension. ``assignee`` and
    ``group`` name who may respond. A timer's ``request`` and ``response`` are the same type, or None for the type of
    the step before it. ``condition`` decides whether it asks. ``child`` is the pipeline whose
    result is the response, if there is one. ``place`` is the author's file and line.
    """

    name: str
    request: Any
    response: Any
    transport: str
    timeout: timedelta
    assignee: str | None
    group: str | None
    url: str | None = None
    condition: Callable[..., Any] | None = None
    place: str = field(default="", compare=False)
    child: ChildCall | None = None

    @property
    def asks(self) -> bool:
        """True if something outside answers: neither a timer nor a child execution."""
        return self.transport not in AUTOMATIC

    @property
    def transport_metadata(self) -> Mapping[str, str]:
        """What the transport needs in addition to the request: a webhook's ``url``."""
        return {} if self.url is None else {"url": self.url}

    @property
    def step_id(self) -> str:
        """The id of this await in messages."""
        return step_id(self.name)


def waiting_time(name: str, time: timedelta) -> timedelta:
    """Return the time. Raises ``DefinitionError`` INVALID_TIMEOUT."""
    if not isinstance(time, timedelta) or not timedelta(0) < time <= LONGEST_WAIT:
        raise DefinitionError(
            "INVALID_TIMEOUT",
            f'await "{name}" waits for {time!r}; give a positive timedelta of at most a hundred years, such as '
            "timedelta(days=1)",
        )
    return time


def check_transport(name: str, transport: str, url: str | None) -> None:
    """Raise ``DefinitionError`` UNKNOWN_TRANSPORT or INVALID_URL."""
    if transport not in AWAIT_TRANSPORTS:
        raise DefinitionError(
            "UNKNOWN_TRANSPORT",
            f'await "{name}" has transport {transport!r}; use one of {", ".join(AWAIT_TRANSPORTS)}',
        )
    if (transport == "webhook") != (url is not None):
        problem = "has no url" if url is None else f"has a url, which {transport} does not take"
    elif url is not None and not is_web_address(url):
        problem = f"has the url {url!r}"
    else:
        return
    raise DefinitionError(
        "INVALID_URL",
        f'await "{name}" {problem}; a webhook goes to an http or https url without credentials, such as '
        'url="https://erp.example/approvals"',
    )


def check_recipient(name: str, member: str, recipient: str | None) -> None:
    """Raise ``DefinitionError`` INVALID_RECIPIENT. ``member`` is "assignee" or "group"."""
    if recipient is None:
        return
    longest = LONGEST_GROUP if member == "group" else LONGEST_RECIPIENT
    if isinstance(recipient, str) and 0 < len(recipient) <= longest and is_identifier(recipient):
        return
    wrong = f"of {len(recipient)} characters" if isinstance(recipient, str) else f"of type {type(recipient).__name__}"
    raise DefinitionError(
        "INVALID_RECIPIENT",
        f'await "{name}" has a {member} {wrong}; use 1 to {longest} printable characters without blanks at either end',
    )


def checked_call(name: str, pipeline_id: str, release: str | Active) -> ChildCall:
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
