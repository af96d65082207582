"""The settings configure the artifact store as one of Django's storages."""

from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from coordinator import artifact_stores
from releases.artifacts.store import artifact_store
from tests.artifact_stores import use_store
from tests.s3 import S3Place

PLACE = S3Place("releases", access_key_id="key", secret_access_key="secret")


def test_the_options_of_the_s3_store() -> None:
    root = Path("/var/artifacts")
    store = artifact_stores.s3(
        root,
        bucket="releases",
        prefix="/a/b/",
        endpoint_url="https://s3.internal",
        access_key_id="key",
        secret_access_key="secret",
        options={"region_name": "eu-west-1"},
    )
    expected = {
        "staging": root / "staging",
        "location": "a/b",
        "region_name": "eu-west-1",
        "access_key": "key",
        "secret_key": "secret",
        "security_token": None,
        "addressing_style": "path",
        "verify": None,
    }
    assert {name: store["OPTIONS"][name] for name in expected} == expected
    of_host = artifact_stores.s3(root, bucket="releases")["OPTIONS"]
    assert (of_host["addressing_style"], of_host["endpoint_url"], "access_key" in of_host) == ("auto", None, False)


def test_an_unknown_option_is_reported_by_its_name_alone(settings: Any) -> None:
    use_store(settings, "s3", PLACE.backend(settings.ARTIFACT_ROOT))
    assert run_checks(tags=["files"], include_deployment_checks=True) == []
    use_store(settings, "s3", PLACE.backend(settings.ARTIFACT_ROOT, bukket_name="secret-value"))
    with pytest.raises(ImproperlyConfigured, match="bukket_name"):
        artifact_store()
    [found] = run_checks(tags=["files"], include_deployment_checks=True)
    assert (found.id, "bukket_name" in found.msg, "secret-value" in found.msg) == ("releases.E001", True, False)
