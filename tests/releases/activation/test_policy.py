"""The rules of a policy, for callers that do not use the serializer."""

from typing import Any

import pytest

from releases.activation.policy import change
from releases.errors import PolicyInvalid
from releases.models import Pipeline, Release
from tests import making
from tests.cases import cases
from tests.raw_sql import rows
from tests.releases.refusals import refusal

pytestmark = pytest.mark.django_db


@pytest.fixture
def release() -> Release:
    return making.registered(making.tenant())


@cases(
    ("name", "value"),
    [
        ("retry_limit", 1),
        ("validateAnswers", None),
        ("retryLimit", True),
        ("retryDelaySeconds", float("inf")),
    ],
)
def test_an_invalid_policy_changes_nothing(release: Release, name: str, value: Any) -> None:
    error = refusal(change, release.pipeline, {"retryMultiplier": 2, name: value}, actor="user:test")
    assert isinstance(error, PolicyInvalid)
    assert [each["field"] for each in error.errors] == [name]


def test_a_policy_is_changed_in_one_tenant_only(release: Release) -> None:
    other = making.registered(making.tenant())
    assert other.pipeline.pipeline_id == release.pipeline.pipeline_id
    before = rows(Pipeline)
    change(release.pipeline, {"reasonRequired": True, "retryLimit": 9}, actor="user:test")
    assert [row["id"] for row in rows(Pipeline) if row not in before] == [release.pipeline_id]


def test_a_concurrent_change_of_another_member_is_not_overwritten(release: Release) -> None:
    mine, other = (Pipeline.objects.select_related("tenant").get(pk=release.pipeline_id) for _ in range(2))
    change(other, {"retryLimit": 9}, actor="user:other")
    changed = change(mine, {"reasonRequired": True}, actor="user:test")
    assert (changed.reason_required, changed.retry_limit) == (True, 9)
