"""The admin pages of pipelines, releases, activation requests and trusted keys."""

from releases.admin import pipelines, releases, requests, trusted_keys

__all__ = ["pipelines", "releases", "requests", "trusted_keys"]
