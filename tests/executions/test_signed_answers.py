"""A resume token answers one interaction. If any of its members differs, it is rejected (wire protocol F.8)."""

import dataclasses
import uuid
from typing import Any

import pytest
from django.utils import timezone

from executions.awaits import interactions
from executions.awaits.awaits import resume_secrets, resume_token_of
from executions.models import AwaitUnit, Execution, Interaction
from foundation.errors import CoordinatorError
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import interaction_of, suspended
from tests.raw_sql import rows
from wire.resume_token import ResumeToken

pytestmark = pytest.mark.django_db
TABLES = (Execution, AwaitUnit, Interaction)


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready()


@pytest.fixture
def question(ready: tuple[Tenant, Release]) -> Interaction:
    return Interaction.objects.select_related("tenant").get(pk=interaction_of(suspended(ready, "one")).pk)


@pytest.fixture
def other(ready: tuple[Tenant, Release], question: Interaction) -> Interaction:
    return Interaction.objects.select_related("tenant").get(pk=interaction_of(suspended(ready, "other")).pk)


def token_of(one: Interaction) -> ResumeToken:
    return resume_token_of(one, issued_at=timezone.now())


def signed(token: ResumeToken) -> str:
    return token.sign(resume_secrets()[0])


def refusal(call: Any, *arguments: Any, **members: Any) -> str:
    """Return the error code of the rejected call, after checking that no row has changed."""
    before = [rows(table) for table in TABLES]
    with pytest.raises(CoordinatorError) as caught:
        call(*arguments, response={"n": 1}, actor="user:eva", **members)
    assert [rows(table) for table in TABLES] == before
    return caught.value.code


CHANGES: list[dict[str, Any]] = [
    {"tenant_id": "another"},
    {"interaction_id": str(uuid.UUID(int=1))},
    {"interaction_id": "other"},
    {"correlation_id": "another"},
    {"execution_id": str(uuid.UUID(int=1))},
    {"step_id": "Another"},
    {"deadline_epoch_ms": 1},
    {"deadline_epoch_ms": 4_000_000_000_000},
]


def test_the_changes_cover_every_member_but_the_time_of_issue() -> None:
    names = {name for change in CHANGES for name in change}
    assert names == {field.name for field in dataclasses.fields(ResumeToken)} - {"issued_at_epoch_ms"}


@cases("change", CHANGES)
def test_a_signed_token_with_a_different_member_is_rejected(question: Interaction, change: dict[str, Any]) -> None:
    token = signed(dataclasses.replace(token_of(question), **change))
    codes = {"RESUME_TOKEN_INVALID", "INTERACTION_UNKNOWN"}
    assert refusal(interactions.resume, token) in codes
    for named in ({}, {"interaction_id": question.pk}, {"correlation_id": question.correlation_id}):
        assert refusal(interactions.complete, question.tenant, resume_token=token, **named) in codes
    assert interactions.resume(signed(token_of(question)), response=1, actor="x").duplicate is False


def test_a_token_does_not_answer_another_question(question: Interaction, other: Interaction) -> None:
    token = signed(token_of(other))
    for named in ({"interaction_id": question.pk}, {"correlation_id": question.correlation_id}):
        code = refusal(interactions.complete, question.tenant, resume_token=token, **named)
        assert code in {"RESUME_TOKEN_INVALID", "INTERACTION_UNKNOWN"}


@cases("secret", ["", "another secret, unknown here, long enough"])
def test_a_token_that_is_signed_with_another_secret_is_rejected(question: Interaction, secret: str) -> None:
    token = token_of(question).sign(secret)
    assert refusal(interactions.resume, token) == "RESUME_TOKEN_INVALID"
    assert refusal(interactions.complete, question.tenant, resume_token=token) == "RESUME_TOKEN_INVALID"
    named = {"interaction_id": question.pk, "correlation_id": question.correlation_id}
    assert refusal(interactions.complete, question.tenant, resume_token=token, **named) == "RESUME_TOKEN_INVALID"


@cases("named", ["interaction_id", "correlation_id"])
def test_the_identifiers_of_an_answer_must_agree(question: Interaction, other: Interaction, named: str) -> None:
    names: dict[str, Any] = {"interaction_id": question.pk, "correlation_id": question.correlation_id}
    foreign: dict[str, Any] = {"interaction_id": other.pk, "correlation_id": other.correlation_id}
    changed = {**names, named: foreign[named]}
    assert refusal(interactions.complete, question.tenant, **changed) == "INTERACTION_UNKNOWN"


def test_the_time_of_issue_is_not_checked(question: Interaction) -> None:
    token = dataclasses.replace(token_of(question), issued_at_epoch_ms=0)
    assert interactions.resume(signed(token), response=1, actor="x").interaction.pk == question.pk
