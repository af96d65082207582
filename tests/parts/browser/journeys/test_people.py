"""Journeys of a tenant admin."""

import requests

from tenancy.roles import Role
from tests.parts.browser.journeys.conftest import Journey
from tests.running import TenantInUse


def test_token_and_key_made(journey: Journey, tenant: TenantInUse) -> None:
    admin = journey.person(tenant, Role.TENANT_ADMIN)
    admin.goes_to("Members").opens("API tokens").opens("Issue a token").fills("Name", "ci")
    admin.ticks("executions:submit").presses("Issue the token").sees("Copy the token now")
    token = admin.page.locator("[data-token]").inner_text().split()[0]
    answer = requests.get(tenant.url("executions"), headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 200
    admin.opens("I have copied it").goes_to("Tenants").opens(tenant.tenant.slug).opens("Start a new worker key")
    admin.fills("Reason", "The host is new").presses("Start a new worker key").sees("Copy the worker key now")
    key = admin.page.locator("[data-worker-key]").inner_text().split()[0]
    admin.opens("I have copied it").sees(key.split(".")[0])
