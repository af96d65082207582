"""The tests of every artifact store, on Google Cloud Storage and Azure Blob Storage."""

from tests.releases.artifacts.store.test_stores import *  # noqa: F403
