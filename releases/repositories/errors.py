"""How the resolution of an artifact fails: with a finding, or without a verdict."""

OTHER_DIGEST = "MAVEN_ARTIFACT_OTHER_DIGEST"
"""The code of the refusal of an artifact that a repository has with other bytes."""


class ArtifactRefused(Exception):
    """A finding, with its code and message. A retry does not help."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RepositoryUnavailable(Exception):
    """There is no verdict, because a repository gave no usable response. A retry may help."""
