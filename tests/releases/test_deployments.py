"""Receipts of deployments."""

import pytest

from releases.models import Deployment
from tests import making
from tests.raw_sql import run

pytestmark = pytest.mark.django_db


def test_the_newest_deployments_of_a_tenant_are_read_from_an_index() -> None:
    deployed = making.deployed(making.registered(making.tenant()))
    run("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_incremental_sort = off")
    plan = Deployment.objects.filter(tenant=deployed.tenant)[:10].explain()
    assert "deployment_newest" in plan
    assert "Sort" not in plan
