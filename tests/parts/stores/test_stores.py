from tests.releases.artifacts.store.test_stores import *  # noqa: F403
