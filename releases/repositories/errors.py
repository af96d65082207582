"""How the look for an artifact in a repository or registry fails: with a finding, or without a verdict."""

from typing import Final

from wire.documents.descriptor import artifact_field
from wire.findings import Finding

OTHER_DIGEST: Final = "MAVEN_ARTIFACT_OTHER_DIGEST"
"""The code of the refusal of an artifact that a repository has with other bytes."""


class ArtifactRefused(Exception):
    """A finding, with its code and message. A retry does not help."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RepositoryUnavailable(Exception):
    """There is no verdict, because a repository or registry gave no usable response. A retry may help."""


class Unanswered(Exception):
    """There is no verdict on a release, because nothing says whether the bytes of the artifact at `position` exist.

    `finding` names the artifact, and the repository or registry that gave no usable response.
    """

    def __init__(self, code: str, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.finding = Finding(code, artifact_field(position, "uri"), message)
