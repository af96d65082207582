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
from releases.artifacts.store import artifact_store
from tests.artifact_stores import use_store
from tests.s3 import S3Place
from tests.unit.coordinator.test_settings import VALID

PLACE = S3Place("releases", access_key_id="key", secret_access_key="secret")


def configured(**variables: str) -> dict[str, Any]:
    """Return the entry of STORAGES that a process with these variables has."""
    program = "import json; from coordinator import settings; print(json.dumps(settings.STORAGES, default=str))"
    environment = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "coordinator.settings", **VALID, **variables}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)["artifacts"]  # type: ignore[no-any-return]


def test_variables_become_options_of_the_s3_store_which_further_options_replace() -> None:
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
        ARTIFACT_STORE_OPTIONS=json.dumps({"s3": {"region_name": "eu-west-1"}}),
    )
    assert store["BACKEND"] == "releases.artifacts.store.s3.S3ArtifactStore"
    assert store["OPTIONS"] == {
        "staging": "/var/artifacts/staging",
        "bucket_name": "releases",
        "location": "a/b",
        "endpoint_url": "https://s3.internal",
        "public_endpoint_url": "https://s3.example",
        "region_name": "eu-west-1",
        "access_key": "key",
        "secret_key": "secret",
        "security_token": None,
        "addressing_style": "path",
        "signature_version": "s3v4",
        "verify": None,
        "timeout_seconds": 7.0,
    }


def test_an_unknown_option_is_reported_by_its_name_alone(settings: Any) -> None:
    use_store(settings, "s3", PLACE.backend(settings.ARTIFACT_ROOT))
    assert run_checks(tags=["files"], include_deployment_checks=True) == []
    use_store(settings, "s3", PLACE.backend(settings.ARTIFACT_ROOT, bukket_name="secret-value"))
    with pytest.raises(ImproperlyConfigured, match="bukket_name"):
        artifact_store()
    [found] = run_checks(tags=["files"], include_deployment_checks=True)
    assert (found.id, "bukket_name" in found.msg, "secret-value" in found.msg) == ("releases.E001", True, False)
