"""One world of rows for all tests of a module.

A module that requests `module_world` in fixtures of its scope creates its rows once. Each test with `django_db` starts
with them, and what it writes is rolled back.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import TestCase, override_settings
from pytest_django import DjangoDbBlocker

from releases.artifacts.local_store import LocalArtifactStore
from tests import caches
from tests.artifact_stores import local_settings
from tests.servers import FOLDER


class World(TestCase):
    """Django's transaction around the tests of a class, here around those of a module."""


@pytest.fixture(scope="module")
def module_world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A transaction and an artifact store for all tests of the module."""
    with (
        tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True) as folder,
        django_db_blocker.unblock(),
        override_settings(**local_settings(Path(folder) / "artifacts")),
    ):
        LocalArtifactStore(settings.ARTIFACT_ROOT).set_up()
        World.setUpClass()
        caches.clear()
        try:
            yield
        finally:
            World.tearDownClass()
            World.doClassCleanups()
