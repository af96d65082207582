"""Downloads artifacts from Maven repositories."""

from collections.abc import Callable

from releases.artifacts.store import StagedBlob
from releases.repositories.errors import ArtifactRefused
from wire.documents.artifact_uri import MavenUri

OTHER_DIGEST = "MAVEN_ARTIFACT_OTHER_DIGEST"


def fetch(uri: MavenUri, digest: str, tenant: str, *, renew: Callable[[], object]) -> StagedBlob:
    """Return the staged bytes of the artifact, which have `digest`."""
    raise ArtifactRefused("MAVEN_NOT_CONFIGURED", f"no Maven repository is configured for the group {uri.group}")
