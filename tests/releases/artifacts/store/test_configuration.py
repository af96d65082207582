"""The settings configure the artifact store as one of Django's storages."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from embedded.product import PROJECT
from releases.artifacts.store import artifact_store, configured_store
from releases.artifacts.store.local import LocalArtifactStore
from tests.artifact_stores import use_store
from tests.cases import cases
from tests.s3 import S3Place
from tests.unit.coordinator.test_settings import VALID

PLACE = S3Place("releases", access_key_id="key", secret_access_key="secret")


def configured(**variables: str) -> dict[str, Any]:
    """Return the entry of STORAGES that a process with these variables has."""
    program = "import json; from coordinator import settings; print(json.dumps(settings.STORAGES, default=str))"
    return json.loads(_output(program, **variables))["artifacts"]  # type: ignore[no-any-return]


def _output(program: str, **variables: str) -> str:
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "coordinator.settings", **VALID, **variables}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_variables_become_options_of_the_s3_store() -> None:
    store = configured(
        ARTIFACT_STORE="s3",
        ARTIFACT_ROOT="/var/artifacts",
        S3_BUCKET="releases",
        S3_PREFIX="/a/b/",
        S3_ENDPOINT_URL="https://s3.internal",
        S3_PUBLIC_ENDPOINT_URL="https://s3.example",
        S3_REGION="eu-central-1",
        S3_ACCESS_KEY_ID="key",
        S3_SECRET_ACCESS_KEY="secret",
        S3_TIMEOUT_SECONDS="7",
    )
    assert store["BACKEND"] == "releases.artifacts.store.s3.S3ArtifactStore"
    assert store["OPTIONS"] == {
        "staging": "/var/artifacts/staging",
        "bucket_name": "releases",
        "location": "a/b",
        "endpoint_url": "https://s3.internal",
        "public_endpoint_url": "https://s3.example",
        "region_name": "eu-central-1",
        "access_key": "key",
        "secret_key": "secret",
        "security_token": None,
        "addressing_style": "path",
        "signature_version": "s3v4",
        "verify": None,
        "timeout_seconds": 7.0,
    }


def test_options_replace_what_the_variables_say_and_the_host_provides_missing_credentials() -> None:
    overrides = {"s3": {"region_name": "eu-west-1", "object_parameters": {"ServerSideEncryption": "AES256"}}}
    found = configured(ARTIFACT_STORE="s3", S3_BUCKET="releases", ARTIFACT_STORE_OPTIONS=json.dumps(overrides))
    options = found["OPTIONS"]
    assert options["region_name"] == "eu-west-1"
    assert options["object_parameters"] == {"ServerSideEncryption": "AES256"}
    assert options.keys() & {"access_key", "secret_key", "security_token"} == set()
    assert (options["addressing_style"], options["endpoint_url"]) == ("auto", None)


@cases(
    ("store", "options", "backend"),
    [
        ("gcs", {"bucket_name": "releases"}, "google.GoogleArtifactStore"),
        ("azure", {"azure_container": "releases"}, "azure.AzureArtifactStore"),
    ],
)
def test_other_stores_are_configured_by_options_alone(store: str, options: dict[str, str], backend: str) -> None:
    found = configured(
        ARTIFACT_STORE=store, ARTIFACT_ROOT="/var/artifacts", ARTIFACT_STORE_OPTIONS=json.dumps({store: options})
    )
    assert found["BACKEND"] == f"releases.artifacts.store.{backend}"
    assert found["OPTIONS"] == {"staging": "/var/artifacts/staging", **options}


def test_a_process_that_does_not_use_the_store_does_not_import_its_backend() -> None:
    program = """
import sys
import coordinator.celery, coordinator.wsgi, coordinator.urls
import releases.tasks
backends = ("storages", "releases.artifacts.store.s3", "boto3", "google.cloud.storage", "azure.core")
print([name for name in backends if name in sys.modules])
"""
    assert _output(program, ARTIFACT_STORE="s3", S3_BUCKET="releases").strip() == "[]"


def test_an_unknown_option_is_reported_by_its_name_alone(settings: Any) -> None:
    use_store(settings, "s3", PLACE.backend(settings.ARTIFACT_ROOT, bukket_name="secret-value"))
    with pytest.raises(ImproperlyConfigured, match="bukket_name"):
        artifact_store()
    [found] = run_checks(tags=["files"], include_deployment_checks=True)
    assert (found.id, "bukket_name" in found.msg, "secret-value" in found.msg) == ("releases.E001", True, False)


def test_only_a_right_configuration_is_not_reported(settings: Any) -> None:
    use_store(settings, "s3", PLACE.backend(settings.ARTIFACT_ROOT))
    assert run_checks(tags=["files"], include_deployment_checks=True) == []
    use_store(settings, "gcs", {"BACKEND": "releases.artifacts.store.nowhere.Store"})
    [found] = run_checks(tags=["files"], include_deployment_checks=True)
    assert (found.id, "releases.artifacts.store.nowhere" in found.msg) == ("releases.E001", True)


def test_a_storage_of_another_kind_is_rejected(settings: Any) -> None:
    use_store(settings, "local", {"BACKEND": "django.core.files.storage.InMemoryStorage"})
    with pytest.raises(ImproperlyConfigured, match="InMemoryStorage is not an artifact store"):
        artifact_store()


def test_the_store_is_created_once_and_a_configured_one_each_time(settings: Any) -> None:
    store = artifact_store()
    assert store is artifact_store()
    assert isinstance(store, LocalArtifactStore)
    assert store.root == settings.ARTIFACT_ROOT
    assert configured_store("local") is not configured_store("local")


def test_a_remote_store_needs_a_folder_for_uploads(settings: Any) -> None:
    backend = PLACE.backend(settings.ARTIFACT_ROOT)
    del backend["OPTIONS"]["staging"]
    use_store(settings, "s3", backend)
    with pytest.raises(ImproperlyConfigured, match="needs the option staging"):
        artifact_store()
