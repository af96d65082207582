"""What a drift is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What differs from what was registered and activated."""

    CONTRACT = "contract"
    """A worker reports another contract than its release has."""
    ARTIFACT = "artifact"
    """A worker hosts other code than its release pins, or the stored bytes are damaged or missing."""
    ENVIRONMENT = "environment"
    """The Python environment of a worker is not the one that the artifact requires."""
    DEPLOYMENT = "deployment"
    """A release that needs workers has none, or a worker hosts a release that is not registered."""
    CALLERS = "callers"
    """Executions are submitted to another release than the active one."""


class Subject(StrEnum):
    """What a drift was found at."""

    WORKER = "worker"
    ARTIFACT = "artifact"
    RELEASE = "release"
    PIPELINE = "pipeline"


@dataclass(frozen=True, slots=True)
class Fact:
    """A piece of evidence."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference between a release and reality. `since` is None if nothing says when it began.

    `name` is the worker's id, the artifact's id, the version of the release or the id of the pipeline, as `subject`
    says.
    """

    kind: Kind
    pipeline_id: str
    release_version: str
    subject: Subject
    name: str
    evidence: tuple[Fact, ...]
    since: datetime | None
    remedy: str
