"""Makes the product's settings name another artifact store."""

from pathlib import Path
from typing import Any

from coordinator import artifact_stores


def use_store(settings: Any, name: str, backend: artifact_stores.Backend) -> None:
    settings.ARTIFACT_STORE = name
    settings.ARTIFACT_STORES = {**settings.ARTIFACT_STORES, name: backend}
    settings.STORAGES = {**settings.STORAGES, "artifacts": backend}


def use_local(settings: Any, root: Path) -> None:
    settings.ARTIFACT_ROOT = root
    use_store(settings, "local", artifact_stores.local(root))
