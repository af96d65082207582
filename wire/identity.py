"""The identity of one release of one tenant's pipeline, to which executions are pinned. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReleaseIdentity:
    """Identifies a release. Its text names all parts, for log lines and messages."""

    tenant_id: str
    pipeline_id: str
    contract_version: str
    release_version: str

    def __str__(self) -> str:
        return (
            f"tenantId={self.tenant_id}, pipelineId={self.pipeline_id}, "
            f"contractVersion={self.contract_version}, releaseVersion={self.release_version}"
        )
