"""The release manager's pages."""

from releases.admin.pipelines import PipelineAdmin
from releases.admin.releases import ReleaseAdmin
from releases.admin.trusted_keys import TrustedKeyAdmin

__all__ = ["PipelineAdmin", "ReleaseAdmin", "TrustedKeyAdmin"]
