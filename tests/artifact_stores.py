from pathlib import Path
from typing import Any

from django.conf import settings as current

from coordinator import library_settings


def store_settings(name: str, backend: library_settings.Backend) -> dict[str, Any]:
    """Return the settings that make `backend` the artifact store."""
    return {
        "ARTIFACT_STORE": name,
        "ARTIFACT_STORES": {**current.ARTIFACT_STORES, name: backend},
        "STORAGES": {**current.STORAGES, "artifacts": backend},
    }


def local_settings(root: Path) -> dict[str, Any]:
    return {"ARTIFACT_ROOT": root, **store_settings("local", library_settings.local_store(root))}


def use_store(settings: Any, name: str, backend: library_settings.Backend) -> None:
    for setting, value in store_settings(name, backend).items():
        setattr(settings, setting, value)


def use_local(settings: Any, root: Path) -> None:
    for setting, value in local_settings(root).items():
        setattr(settings, setting, value)
