from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.test import Client
from pytest_django import DjangoDbBlocker

from foundation.errors import DatabaseUnavailable
from tests import making
from tests.api.tenant_api import tenant_api
from tests.cases import cases
from tests.interop.client import call, switch_on
from tests.race_database import connected_to


@pytest.fixture
def outage(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    django_settings.STATIC_ROOT.mkdir(exist_ok=True)
    with django_db_blocker.unblock(), connected_to("a-database-that-does-not-exist"):
        yield


def require_problem(answer: Any) -> None:
    assert (answer.status_code, answer.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0


def test_the_api_answers_with_a_problem_document(outage: None) -> None:
    headers = {"Authorization": f"Bearer {'a' * 64}"}
    require_problem(Client(raise_request_exception=False).get("/api/v1/tenants/acme/executions", headers=headers))


def test_the_admin_answers_with_a_page(outage: None) -> None:
    client = Client(raise_request_exception=False)
    client.cookies[django_settings.SESSION_COOKIE_NAME] = "a" * 32
    answer = client.get("/admin/")
    assert answer.status_code == 503
    assert b"<html" in answer.content
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.django_db
def test_a_database_that_has_become_read_only_is_unavailable_for_writes() -> None:
    django_settings.STATIC_ROOT.mkdir(exist_ok=True)
    ours = tenant_api()
    ours.client = Client(raise_request_exception=False)
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
    body = {"pipelineId": making.PIPELINE, "idempotencyKey": "new", "input": {"n": 1}}
    require_problem(ours.post("executions", body))


@cases("path", ["control-plane/tenants/t/executions/e", "admin/tenants/t/pipelines/p/releases"])
def test_the_compatibility_surface_responds_in_its_own_format(outage: None, settings: Any, path: str) -> None:
    switch_on(settings)
    answer = call("GET", path)
    assert (answer.status_code, answer.content) == (503, DatabaseUnavailable.title.encode())
    assert int(answer.headers["Retry-After"]) > 0
