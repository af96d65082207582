"""The artifact stores as entries of Django's STORAGES, made of the settings' values.

Naming a backend does not import it: a process that does not use the artifact store loads no client library.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

Backend = dict[str, Any]
PACKAGE = "releases.artifacts"


def local(root: Path) -> Backend:
    return {
        "BACKEND": f"{PACKAGE}.local_store.LocalArtifactStore",
        "OPTIONS": {"location": root, "may_set_up": "releases.artifacts.blobs.none_recorded"},
    }


def s3(
    root: Path,
    *,
    bucket: str,
    prefix: str = "",
    endpoint_url: str = "",
    public_endpoint_url: str = "",
    region: str = "us-east-1",
    access_key_id: str = "",
    secret_access_key: str = "",
    ca_file: str = "",
    timeout_seconds: float = 20.0,
    options: Mapping[str, Any] | None = None,
) -> Backend:
    """Return the store in an S3 bucket. `options` are those of django-storages and replace what the settings say.

    Without a key, boto3 uses the credentials of the host, such as a role.
    """
    key: dict[str, Any] = {}
    if access_key_id:
        # A token in AWS_SESSION_TOKEN belongs to another key.
        key = {"access_key": access_key_id, "secret_key": secret_access_key, "security_token": None}
    chosen = {
        "bucket_name": bucket,
        "location": prefix.strip("/"),
        "endpoint_url": endpoint_url or None,
        "public_endpoint_url": public_endpoint_url,
        "region_name": region,
        "addressing_style": "path" if endpoint_url else "auto",
        "signature_version": "s3v4",
        "verify": ca_file or None,
        "timeout_seconds": timeout_seconds,
    }
    return _remote("s3_store.S3ArtifactStore", root, chosen | key | dict(options or {}))


def by_options(store: str, root: Path, options: Mapping[str, Any]) -> Backend:
    """Return the store `gcs` or `azure` in the bucket or container that `options` of django-storages describe."""
    return _remote(
        {"gcs": "google_store.GoogleArtifactStore", "azure": "azure_store.AzureArtifactStore"}[store], root, options
    )


def _remote(backend: str, root: Path, options: Mapping[str, Any]) -> Backend:
    """Uploads are received in a folder of the host."""
    return {"BACKEND": f"{PACKAGE}.{backend}", "OPTIONS": {"staging": root / "staging", **options}}
