"""The API held to its own OpenAPI document: what is generated from it, good and bad, is answered as it says.

Schemathesis sends what it makes of the document to a real web process over a database that holds something of
everything. It is told the names of what is there, so that a good part of the addresses lead to something.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from embedded.product import BIN, Product
from executions.models import Worker
from tests import transaction_calls
from tests.api.populated import populate
from tests.api.tenant_api import tenant_api
from tests.broker import broker_urls
from tests.database_template import connected_to, database
from tests.servers import NUMBER, ordinary_url

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def own_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A database of its own, which a process of the product's may use beside the test."""
    with database(f"test_{NUMBER}_schema") as name, django_db_blocker.unblock(), connected_to(name):
        yield name


@contextmanager
def serving(name: str, folder: Path, static_root: str) -> Iterator[Product]:
    """The web process alone: nothing moves but by a request."""
    product = Product(
        folder,
        {"DATABASE_URL": ordinary_url(name), **broker_urls()},
        {
            **transaction_calls.environment(),
            "STATIC_ROOT": static_root,
            "SECRET_KEY": settings.SECRET_KEY,
            "WORKER_SECRET": settings.WORKER_SECRET,
            "ARTIFACT_ROOT": str(settings.ARTIFACT_ROOT),
        },
    )
    try:
        product.start_web()
        product.wait_until_ready()
        yield product
    finally:
        product.stop()


def test_the_document_is_generated_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn")
    assert "WorkerState" in capsys.readouterr().out


@pytest.mark.timeout(600)
def test_all_generated_requests_are_answered_as_documented(
    own_database: str, tmp_path: Path, gathered_static_files: str
) -> None:
    ours = tenant_api()
    names = populate(ours)
    Worker.objects.update(alive_until=timezone.now() + timedelta(hours=1))  # nothing sends heartbeats
    with serving(own_database, tmp_path, gathered_static_files) as product:
        document = requests.get(f"{product.url}/api/schema/?format=json").json()
        told = tmp_path / "openapi.json"
        told.write_text(json.dumps(strict(knowing(document, names))))
        command = [f"{BIN}/st", f"--config-file={CONFIGURATION}", "run", f"{told}", f"--url={product.url}"]
        done = subprocess.run(
            [*command, f"--header=Authorization: Bearer {ours.all_scopes}", "--no-color"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    operations = sum(len(item) for item in document["paths"].values())
    assert f"Tested: {operations}" in done.stdout


def knowing(document: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """The document with the names of what there is filled in where nothing else is acceptable."""
    operations = [each for item in document["paths"].values() for each in item.values()]
    for parameter in (each for operation in operations for each in operation.get("parameters", ())):
        if parameter["in"] == "path" or parameter["name"] == "cursor":
            parameter["schema"] = {"enum": names[parameter["name"]]}
    for component in ("SubmissionRequest", "ActivationRequest", "CompleteRequest", "ResumeRequest"):
        properties = document["components"]["schemas"][component]["properties"]
        for member in properties.keys() & names.keys():
            optional = [None] if "null" in properties[member]["type"] else []
            properties[member] = {"enum": [*names[member], *optional]}
    return document


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """The document with each problem held to the status that it comes with and to the codes of that response."""
    for operation in (each for item in document["paths"].values() for each in item.values()):
        for status, response in operation["responses"].items():
            if "x-codes" in response:
                members = {"status": {"const": int(status)}, "code": {"enum": response["x-codes"]}}
                [body] = response["content"].values()
                body["schema"] = {"allOf": [body["schema"], {"properties": members}]}
    return document
