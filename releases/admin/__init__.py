"""The admin pages of pipelines, releases, activation requests and trusted keys."""

from governance import pipeline_page, release_page
from governance.requests import pages
from releases.admin import trusted_keys

__all__ = ["pipelines", "releases", "requests", "trusted_keys"]
