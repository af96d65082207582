"""The Django app, with the system checks of the artifact store."""

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from releases.artifacts.store import artifact_store


@checks.register(checks.Tags.security)
def artifact_root_is_private(**_: Any) -> list[checks.CheckMessage]:
    """Warn if other accounts of the host can access ARTIFACT_ROOT. The store creates it with mode 0700."""
    root = settings.ARTIFACT_ROOT
    if not root.exists() or not root.stat().st_mode & 0o077:
        return []
    return [
        checks.Warning(
            f"Other accounts of this host can access ARTIFACT_ROOT, {root}.",
            hint="Run chmod -R go= on it.",
            id="releases.W001",
        )
    ]


@checks.register(checks.Tags.files, deploy=True)
def artifact_store_is_configured(**_: Any) -> list[checks.CheckMessage]:
    """Report options that the store's backend rejects and a backend that is not installed.

    Only `check --deploy` runs it, because it imports the backend's client library.
    """
    try:
        artifact_store()
    except ImproperlyConfigured as error:
        return [checks.Error(f"The artifact store is not configured correctly. {error}", id="releases.E001")]
    return []


class ReleasesConfig(AppConfig):
    name = "releases"
