"""Records how far the verification of a release is, for the people who watch it. It decides nothing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from releases.models import Release
from releases.states import PENDING, Status
from wire.documents.descriptor import ArtifactRef, Descriptor
from wire.findings import Finding, Severity


class Step(StrEnum):
    """What the verification does with an artifact. Before the first step, the artifact waits."""

    FETCHING = "FETCHING"
    UNANSWERED = "UNANSWERED"
    CHECKING = "CHECKING"
    CHECKED = "CHECKED"


def findings_so_far(release: Release) -> list[dict[str, str]]:
    """Return the findings of a release. Before its verdict, they include those of the verification so far."""
    found: list[dict[str, str]] = release.findings
    if release.status not in PENDING:
        return found
    return found + [each for step in release.progress.values() for each in step["findings"]]


def waits_until(release: Release) -> datetime | None:
    """Return when a release that waits for a repository or registry is rejected. None if it waits for no answer."""
    waits = any(step["step"] == Step.UNANSWERED for step in release.progress.values())
    if not waits or release.status not in PENDING:
        return None
    return release.created_at + timedelta(hours=release.pipeline.verification_hours)


@dataclass(slots=True)
class Progress:
    """The progress of one verification. Each change is committed at once, while the release is VERIFYING."""

    release_id: int
    _steps: dict[str, Any] = field(default_factory=dict)

    def fetching(self, position: int) -> None:
        """A repository is asked for the bytes of the artifact."""
        self._take([position], Step.FETCHING)

    def refused(self, position: int, finding: Finding) -> None:
        """No repository has the bytes. Another artifact may still bring them."""
        self._take([position], Step.FETCHING, [finding])

    def unanswered(self, position: int, finding: Finding) -> None:
        """A repository or registry gave no usable response about the artifact. A later verification asks again."""
        self._take([position], Step.UNANSWERED, [replace(finding, severity=Severity.WARNING)])

    def checking(self, descriptor: Descriptor, artifact: ArtifactRef) -> None:
        """The bytes are stored, and they are read for all artifacts with their digest."""
        positions = [place for place, each in enumerate(descriptor.artifacts) if each.digest == artifact.digest]
        self._take(positions, Step.CHECKING)

    def checked(self, position: int, findings: Sequence[Finding]) -> None:
        """The artifact is checked. If it has no bytes, the refusal of the repositories stays."""
        before = self._steps.get(str(position), {})
        refusals = before["findings"] if before.get("step") == Step.FETCHING else []
        self._take([position], Step.CHECKED, findings, refusals)

    def _take(
        self, positions: Iterable[int], step: Step, findings: Sequence[Finding] = (), earlier: Sequence[Any] = ()
    ) -> None:
        found = [*earlier, *(finding.to_json() for finding in findings)]
        self._steps |= {str(position): {"step": step, "findings": found} for position in positions}
        # No row: another process has recorded the verdict.
        Release.objects.filter(pk=self.release_id, status=Status.VERIFYING).update(progress=self._steps)
