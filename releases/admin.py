"""The admin pages of trusted keys. `governance` has those of pipelines and releases."""

from releases.trust import pages as trusted_keys

__all__ = ["trusted_keys"]
