"""The responses of the API conform to its OpenAPI document, for generated valid and invalid requests.

Schemathesis sends the requests to a web process. The database has an object of each kind. The document that
Schemathesis gets contains their names, so that many requests refer to existing objects.
"""

import json
import os
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
from tests import making, transaction_calls
from tests.alerts import alerting
from tests.api.furnished import populate
from tests.api.tenant_api import tenant_api
from tests.broker import broker_urls
from tests.database_template import connected_to, database
from tests.programs import output_of
from tests.running import another_product
from tests.servers import NUMBER, ordinary_url
from tests.words import words

Names = dict[str, list[str]]
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
CHECK = Path(__file__).with_name("acceptance.py")
NAMING = words(
    "SubmissionRequest ActivationRequest RollbackRequest AnswerRequest CompleteRequest ReplacedAnswer ResumeRequest"
)
"""The components whose members name existing objects."""


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
    removed = {
        "schedule_id": [f"{making.scheduled(ours.tenant, 'removed').pk}"],
        "channel_id": [f"{alerting.channel(ours.tenant, name='removed').pk}"],
        "rule_id": [f"{alerting.rule(ours.tenant, name='removed').pk}"],
    }
    Worker.objects.update(alive_until=timezone.now() + timedelta(hours=1))  # nothing sends heartbeats
    with serving(own_database, tmp_path, gathered_static_files) as product:
        document = requests.get(f"{product.url}/api/schema/?format=json").json()
        path = tmp_path / "openapi.json"
        path.write_text(json.dumps(with_codes(with_names(document, names, removed))))
        command = [f"{BIN}/st", f"--config-file={CONFIGURATION}", "run", f"{path}", f"--url={product.url}"]
        header = f"--header=Authorization: Bearer {ours.all_scopes}"
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": f"{CHECK}"}
        printed = output_of([*command, header, "--no-color"], tmp_path, environment)
    operations = sum(len(item) for item in document["paths"].values())
    assert f"Tested: {operations}" in printed


def with_names(document: dict[str, Any], names: Names, removed: Names) -> dict[str, Any]:
    """Restrict the parameters and members of the document to `names` where other values are mostly invalid.

    Operations that remove objects get the names in `removed`, so that the others find theirs.
    """
    for operation in (operation for item in document["paths"].values() for operation in item.values()):
        known = {**names, **(removed if operation["operationId"].startswith("remove") else {})}
        for parameter in operation.get("parameters", ()):
            name, where = parameter["name"], parameter["in"]
            is_time = parameter["schema"].get("format") == "date-time"
            is_required = where == "path" or (name == "releaseVersion" and parameter.get("required"))
            if is_required or name == "cursor" or (name in ("from", "to") and not is_time):
                parameter["schema"] = {"enum": known[name]}
    for component in NAMING:
        properties = document["components"]["schemas"][component]["properties"]
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
