"""REST of claims: who is working on an interaction, and to whom it was passed on."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from executions.models import Interaction, InteractionEvent
from releases.models import Release
from tenancy.models import Membership, Tenant
from tenancy.roles import Role, Scope
from tests import making
from tests.api.caller import Caller
from tests.executions.awaits.parking import interaction_of, suspended
from tests.raw_sql import run, unguarded

pytestmark = pytest.mark.django_db


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready()


@pytest.fixture
def one(ready: tuple[Tenant, Release]) -> Interaction:
    return interaction_of(suspended(ready))


@pytest.fixture
def eva(ready: tuple[Tenant, Release]) -> Caller:
    return Caller(ready[0], Scope.READ, Scope.ANSWER)


@pytest.fixture
def bob(ready: tuple[Tenant, Release]) -> Caller:
    return Caller(ready[0], Scope.READ, Scope.ANSWER)


def act(caller: Caller, of: Interaction, name: str, body: Any = None, status: int = 200) -> Any:
    return caller.post(f"interactions/{of.pk}/{name}", body, status)


def test_an_interaction_is_claimed_taken_over_and_released(one: Interaction, eva: Caller, bob: Caller) -> None:
    shown = act(eva, one, "claim")
    assert (shown["claimedBy"], shown["status"]) == (f"token:{eva.token}", "DISPATCHED")
    assert shown["claimedUntil"]
    refused = act(bob, one, "claim", {"takeOver": False}, 409)
    assert (refused["code"], refused["claimedBy"]) == ("INTERACTION_CLAIMED", f"token:{eva.token}")
    assert act(bob, one, "release", status=409)["code"] == "INTERACTION_NOT_CLAIMED"
    assert act(bob, one, "claim", {"takeOver": True})["claimedBy"] == f"token:{bob.token}"
    assert act(bob, one, "release")["claimedBy"] is None
    assert [event.kind for event in InteractionEvent.objects.all()] == ["CLAIMED", "TAKEN_OVER", "RELEASED"]


def test_interactions_are_filtered_by_claim(one: Interaction, eva: Caller, bob: Caller) -> None:
    def listed(query: str) -> int:
        return len(bob.get(f"interactions?{query}")["items"])

    eva_claims, bob_claims = f"claimedBy=token:{eva.token}", f"claimedBy=token:{bob.token}"
    assert (listed("claimed=true"), listed("claimed=false"), listed(eva_claims)) == (0, 1, 0)
    act(eva, one, "claim")
    assert (listed("claimed=true"), listed("claimed=false"), listed(eva_claims), listed(bob_claims)) == (1, 0, 1, 0)
    assert (listed(f"status=pending&claimed=true&{eva_claims}"), listed(f"claimed=false&{eva_claims}")) == (1, 0)
    with unguarded(Interaction):
        run("UPDATE executions_interaction SET claimed_until = now() - interval '1 s' WHERE id = %s", one.pk)
    assert (listed("claimed=true"), listed("claimed=false"), listed(eva_claims)) == (0, 1, 0)


def test_an_answered_interaction_is_not_claimed(one: Interaction, eva: Caller) -> None:
    act(eva, one, "claim")
    eva.post("interactions/complete", {"interactionId": str(one.pk), "response": {"n": 1}})
    assert eva.get("interactions?claimed=true")["items"] == []
    assert len(eva.get("interactions?claimed=false")["items"]) == 1
    assert bad(eva, "claimed=yes") == ["claimed"]


def bad(caller: Caller, query: str) -> list[str]:
    return [error["field"] for error in caller.get(f"interactions?{query}", status=400)["errors"]]


def test_a_claim_keeps_no_client_from_answering(one: Interaction, eva: Caller, bob: Caller) -> None:
    act(eva, one, "claim")
    body = {"interactionId": str(one.pk), "response": {"n": 1}, "note": "by phone"}
    assert not bob.post("interactions/complete", body)["duplicate"]
    shown = bob.get(f"interactions/{one.pk}")
    assert (shown["note"], shown["channel"], shown["claimedBy"]) == ("by phone", "api", f"token:{eva.token}")
    assert act(eva, one, "claim", status=409)["code"] == "INTERACTION_CLOSED"


def test_an_interaction_is_passed_on_to_a_member(one: Interaction, eva: Caller, bob: Caller) -> None:
    carl = User.objects.create_user("carl")
    membership = Membership.objects.create(user=carl, tenant=one.tenant, role=Role.VIEWER)
    refused = act(eva, one, "delegate", {"to": "carl"}, 422)
    assert [(error["field"], error["code"]) for error in refused["errors"]] == [("to", "DELEGATE_UNKNOWN")]
    membership.role = Role.OPERATOR
    membership.save()
    shown = act(eva, one, "delegate", {"to": "carl", "note": "please"})
    assert (shown["delegate"], shown["claimedBy"]) == ("user:carl", None)
    act(eva, one, "claim")
    assert act(bob, one, "delegate", {"to": "carl"}, 409)["code"] == "INTERACTION_CLAIMED"
    act(bob, one, "delegate", {"to": "carl", "takeOver": True})


@pytest.mark.parametrize("name", ["claim", "release", "delegate"])
def test_claims_need_the_scope_for_answers(one: Interaction, name: str) -> None:
    body = {"to": "eva"} if name == "delegate" else None
    other = Caller(one.tenant, *(set(Scope) - {Scope.ANSWER}))
    assert act(other, one, name, body, 403)["code"] == "SCOPE_MISSING"
    stranger = Caller(making.tenant(), Scope.ANSWER)
    assert act(stranger, one, name, body, 404)["code"] == "INTERACTION_UNKNOWN"
    assert not InteractionEvent.objects.exists()
