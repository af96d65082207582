"""A resume token answers one interaction. If any of its members differs, it is rejected (wire protocol F.8)."""

import dataclasses
import uuid
from typing import Any

import pytest
from django.utils import timezone

from executions.awaits import interactions
from executions.awaits.awaits import resume_secrets, resume_token_of
from executions.models import Interaction
from foundation.errors import CoordinatorError
from releases.models import Release
from tenancy.models import Tenant
from tests.cases import cases
from tests.executions.awaits.parking import interaction_of, suspended
from tests.raw_sql import unchanged
from wire.resume_token import ResumeToken

pytestmark = pytest.mark.django_db
NAMES = ("interaction_id", "correlation_id")


@pytest.fixture
def question(owner: Tenant, release: Release) -> Interaction:
    return interaction_of(suspended((owner, release), "one"))


@pytest.fixture
def other(owner: Tenant, release: Release, question: Interaction) -> Interaction:
    return interaction_of(suspended((owner, release), "other"))


def token_of(one: Interaction, **changes: Any) -> ResumeToken:
    return dataclasses.replace(resume_token_of(one, issued_at=timezone.now()), **changes)


def named(one: Interaction, *names: str) -> dict[str, Any]:
    identifiers = {"interaction_id": one.pk, "correlation_id": one.correlation_id}
    return {name: identifiers[name] for name in names}


def refusals(question: Interaction, token: str) -> set[str]:
    """Return the codes that refuse an answer by `token`, for each way to name the question."""
    codes = set()
    for names in ((), NAMES[:1], NAMES[1:], NAMES):
        answer = {"response": {"n": 1}, "actor": "user:eva", "resume_token": token, **named(question, *names)}
        with unchanged(), pytest.raises(CoordinatorError) as caught:
            interactions.complete(question.tenant, **answer)
        codes.add(caught.value.code)
    return codes


def resume_refusal(token: str) -> str:
    with unchanged(), pytest.raises(CoordinatorError) as caught:
        interactions.resume(token, response={"n": 1}, actor="user:eva")
    return caught.value.code


EITHER = {"RESUME_TOKEN_INVALID", "INTERACTION_UNKNOWN"}
CHANGES: list[dict[str, Any]] = [
    *({"tenant_id": "another"}, {"correlation_id": "another"}, {"step_id": "Another"}),
    *({name: str(uuid.UUID(int=1))} for name in ("interaction_id", "execution_id")),
    *({"interaction_id": "other"}, {"deadline_epoch_ms": 1}, {"deadline_epoch_ms": 4_000_000_000_000}),
]


@cases("change", CHANGES)
def test_a_signed_token_with_a_different_member_is_rejected(question: Interaction, change: dict[str, Any]) -> None:
    secret = resume_secrets()[0]
    token = token_of(question, **change).sign(secret)
    assert resume_refusal(token) in EITHER
    assert refusals(question, token) <= EITHER
    old = token_of(question, issued_at_epoch_ms=0).sign(secret)
    assert interactions.resume(old, response=1, actor="x").interaction.pk == question.pk


@cases("secret", ["", "another secret, unknown here, long enough"])
def test_a_token_that_is_signed_with_another_secret_is_rejected(question: Interaction, secret: str) -> None:
    token = token_of(question).sign(secret)
    assert resume_refusal(token) == "RESUME_TOKEN_INVALID"
    assert refusals(question, token) == {"RESUME_TOKEN_INVALID"}


def test_the_token_and_the_identifiers_of_an_answer_must_agree(question: Interaction, other: Interaction) -> None:
    token = token_of(other).sign(resume_secrets()[0])
    for name in NAMES:
        with unchanged(), pytest.raises(CoordinatorError) as caught:
            interactions.complete(question.tenant, resume_token=token, response=1, actor="x", **named(question, name))
        assert caught.value.code in EITHER
        both = {**named(question, *NAMES), **named(other, name)}
        with unchanged(), pytest.raises(CoordinatorError) as caught:
            interactions.complete(question.tenant, response=1, actor="x", **both)
        assert caught.value.code == "INTERACTION_UNKNOWN"
