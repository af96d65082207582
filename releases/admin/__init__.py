"""The admin pages of trusted keys. `governance` has those of pipelines and releases."""

from releases.admin import trusted_keys

__all__ = ["trusted_keys"]
