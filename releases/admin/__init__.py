"""The release manager's pages."""

from releases.admin.pipelines import PipelineAdmin
from releases.admin.releases import ReleaseAdmin

__all__ = ["PipelineAdmin", "ReleaseAdmin"]
