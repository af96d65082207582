"""The responses of the API conform to its OpenAPI document, for generated valid and invalid requests.

Schemathesis sends the requests to a web process. The database has an object of each kind. The document that
Schemathesis gets contains their names, so that many requests refer to existing objects.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from django.conf import settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from embedded.product import BIN, Product
from executions.models import Worker
from tests import transaction_calls
from tests.api.furnished import populate
from tests.api.tenant_api import tenant_api
from tests.broker import broker_urls
from tests.database_template import connected_to, database
from tests.programs import output_of
from tests.running import another_product
from tests.servers import NUMBER, ordinary_url

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture
def own_database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    with database(f"test_{NUMBER}_schema") as name, django_db_blocker.unblock(), connected_to(name):
        yield name


@contextmanager
def serving(name: str, folder: Path, static_root: str) -> Iterator[Product]:
    """Run a web process without control workers, so that only requests change the database."""
    same = {
        "SECRET_KEY": settings.SECRET_KEY,
        "WORKER_SECRET": settings.WORKER_SECRET,
        "ARTIFACT_ROOT": str(settings.ARTIFACT_ROOT),
    }
    servers = {"DATABASE_URL": ordinary_url(name), **broker_urls()}
    environment = {**transaction_calls.environment(), "STATIC_ROOT": static_root, **same}
    with another_product(folder, servers, environment) as product:
        product.start_web()
        product.wait_until_ready()
        yield product


@pytest.mark.timeout(900)
def test_all_requests_are_answered_as_documented(own_database: str, tmp_path: Path, gathered_static_files: str) -> None:
    ours = tenant_api()
    names = populate(ours)
    Worker.objects.update(alive_until=timezone.now() + timedelta(hours=1))  # nothing sends heartbeats
    with serving(own_database, tmp_path, gathered_static_files) as product:
        document = requests.get(f"{product.url}/api/schema/?format=json").json()
        path = tmp_path / "openapi.json"
        path.write_text(json.dumps(with_codes(with_names(document, names))))
        command = [f"{BIN}/st", f"--config-file={CONFIGURATION}", "run", f"{path}", f"--url={product.url}"]
        header = f"--header=Authorization: Bearer {ours.all_scopes}"
        printed = output_of([*command, header, "--no-color"], tmp_path)
    operations = sum(len(item) for item in document["paths"].values())
    assert f"Tested: {operations}" in printed


def with_names(document: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """Restrict the parameters and members of the document to `names` where other values are mostly invalid."""
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    for parameter in (parameter for operation in operations for parameter in operation.get("parameters", ())):
        is_release = parameter["name"] in ("from", "to") and parameter["schema"].get("format") != "date-time"
        if parameter["in"] == "path" or parameter["name"] == "cursor" or is_release:
            parameter["schema"] = {"enum": names[parameter["name"]]}
    for component in ("Submission", "Activation", "Rollback", "Complete", "Resume"):
        properties = document["components"]["schemas"][f"{component}Request"]["properties"]
        for member in properties.keys() & names.keys():
            optional = [None] if "null" in properties[member]["type"] else []
            properties[member] = {"enum": [*names[member], *optional]}
    return document


def with_codes(document: dict[str, Any]) -> dict[str, Any]:
    """Restrict the status and the code of each problem document to those of its response."""
    for operation in (operation for item in document["paths"].values() for operation in item.values()):
        for status, response in operation["responses"].items():
            if "x-codes" in response:
                members = {"status": {"const": int(status)}, "code": {"enum": response["x-codes"]}}
                [body] = response["content"].values()
                body["schema"] = {"allOf": [body["schema"], {"properties": members}]}
    return document
