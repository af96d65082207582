"""The name of one release of one tenant's pipeline: what an execution is pinned to. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReleaseIdentity:
    tenant_id: str
    pipeline_id: str
    contract_version: str
    release_version: str

    def __str__(self) -> str:
        return (
            f"tenantId={self.tenant_id}, pipelineId={self.pipeline_id}, "
            f"contractVersion={self.contract_version}, releaseVersion={self.release_version}"
        )
