"""Journeys of those who decide which release runs: 1.0 of the orders is active, and 2.0 is registered."""

from collections.abc import Callable
from pathlib import Path

import pytest

from releases.models import Release
from tenancy.roles import Role
from tests import making
from tests.e2e.orders import PIPELINE, build_orders
from tests.governance.finished import counted
from tests.parts.browser.journeys.conftest import Journey
from tests.running import TenantInUse

BREAKING = ("    waits: bool", "    currency: str\n    waits: bool")
"""A change after which callers of 1.0 fail."""

ENDS = {
    "Withdraw 2.0": ("withdrawal", "The shops complain"),
    "Promote 2.0 without full evidence": ("promotion", "It was the network"),
}


@pytest.fixture
def orders(tenant: TenantInUse, tmp_path: Path) -> Callable[..., None]:
    """Return a function that registers 1.0, and 2.0 with changes of its text, and activates 1.0."""

    def register(*changes: tuple[str, str]) -> None:
        first = build_orders(tmp_path, "1.0")
        for release in (first, build_orders(tmp_path, "2.0", *changes)):
            tenant.register(release)
        tenant.activate(first)

    return register


def newest(tenant: TenantInUse, pipeline_id: str = PIPELINE) -> tuple[str, str, str]:
    made = tenant.get(f"pipelines/{pipeline_id}/activations")["items"][0]
    return made["releaseVersion"], made["kind"], made["reason"]


def row_of(tenant: TenantInUse, version: str) -> Release:
    return Release.objects.get(pipeline__tenant=tenant.tenant, release_version=version)


def status_of(tenant: TenantInUse, version: str) -> str:
    return str(tenant.get(f"pipelines/{PIPELINE}/releases/{version}")["status"])


def test_preflight_that_warns(journey: Journey, tenant: TenantInUse, orders: Callable[..., None]) -> None:
    orders(BREAKING)
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    manager.opens(PIPELINE).opens("Activate 2.0").sees("breaking-for-callers", "currency")
    manager.fills("Type 2.0 to confirm", "1.0").fills("Reason", "Orders need a currency").presses("Activate 2.0")
    manager.sees("Type 2.0 to confirm")
    assert newest(tenant)[0] == "1.0"
    manager.fills("Type 2.0 to confirm", "2.0").presses("Activate 2.0").sees("Orders need a currency")
    assert newest(tenant)[0] == "2.0"


def test_upgrade_with_approval(journey: Journey, tenant: TenantInUse, orders: Callable[..., None]) -> None:
    orders(BREAKING)
    tenant.change_policy(PIPELINE, approvals=1)
    manager, admin = journey.person(tenant, Role.RELEASE_MANAGER), journey.person(tenant, Role.TENANT_ADMIN)
    manager.opens(PIPELINE).opens("Activate 2.0").sees("1 other person must approve the activation", "currency")
    manager.sees_disabled("Activate 2.0").fills("Type 2.0 to confirm", "2.0").fills("Reason", "Orders need a currency")
    manager.presses("Request activation").sees("This is your request, so other people must vote on it.")
    admin.goes_to("Overview").opens("1 activation request waits for approval").opens("2.0")
    admin.sees("Release 2.0 is breaking for callers", "currency").fills("Comment", "The shops send it since Monday")
    assert newest(tenant)[0] == "1.0"
    admin.presses("Approve and activate 2.0 now").sees("The vote counts. The request is ACTIVATED.")
    assert newest(tenant)[0] == "2.0"


def test_gradual_withdrawn_and_promoted(journey: Journey, tenant: TenantInUse, orders: Callable[..., None]) -> None:
    orders()
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    for act, reason in ENDS.items():
        manager.goes_to("Pipelines").opens(PIPELINE).opens("Releases").unfolds("Start a gradual activation")
        manager.selects("Candidate", "2.0").presses("Start").opens("Overview").sees("2.0 gets 5 % of new executions")
        manager.fills(f"Reason for the {reason[0]}", reason[1]).presses(act).opens("History").sees(reason[1])
    assert newest(tenant)[0] == "2.0"


def test_roll_back_past_two_bad_releases(journey: Journey, tenant: TenantInUse, tmp_path: Path) -> None:
    for version, failed in (("1.1", 1), ("1.3", 40), ("1.5", 40)):
        release = build_orders(tmp_path, version)
        tenant.register(release)
        tenant.activate(release)
        counted(row_of(tenant, version), 100 - failed, failed, hours=1)
    making.worker(row_of(tenant, "1.1"))
    on_call = journey.person(tenant, Role.ON_CALL)
    on_call.opens(PIPELINE).opens("Roll back").sees("It failed often: 40 of 100 executions (40 %).")
    on_call.ticks("1.1").fills("Reason", "The shops cannot pay").presses("Roll back").sees("The shops cannot pay")
    assert newest(tenant) == ("1.1", "rollback", "The shops cannot pay")


def test_retire(journey: Journey, tenant: TenantInUse, orders: Callable[..., None]) -> None:
    orders()
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    manager.goes_to("Releases").opens_row("2.0").opens("Pause, revoke, retire").sees("Yes: it is not active")
    manager.opens("Retire this release").fills("Type 2.0 to confirm", "2.0").fills("Reason", "Nobody wants it")
    manager.presses("Retire 2.0 permanently").sees("RETIRED")
    assert status_of(tenant, "2.0") == "RETIRED"


def test_revoke(journey: Journey, tenant: TenantInUse, orders: Callable[..., None], tmp_path: Path) -> None:
    orders()
    making.worker(row_of(tenant, "1.0"))
    waits = tenant.accepted(PIPELINE, {"number": 1, "folder": str(tmp_path)}, "waits")["executionId"]
    manager = journey.person(tenant, Role.RELEASE_MANAGER)
    manager.goes_to("Releases").opens_row("1.0").opens("Pause, revoke, retire").opens("Revoke this release")
    manager.sees("nothing can be submitted to", "1 execution").ticks("fail, also those that run now")
    manager.fills("Type 1.0 to confirm", "2.0").fills("Reason", "It charges twice").presses("Revoke 1.0 permanently")
    manager.sees("Type 1.0 to confirm")
    assert status_of(tenant, "1.0") == "REGISTERED"
    manager.fills("Type 1.0 to confirm", "1.0").presses("Revoke 1.0 permanently")
    manager.sees("is revoked and can never be activated again")
    assert status_of(tenant, "1.0") == "REVOKED"
    tenant.wait_for(waits, "FAILED")
