"""The policy of a pipeline in the admin."""

from typing import Any

import pytest

from releases.activation import policy
from releases.models import Pipeline
from tests.admin.browsing import to
from tests.admin.conftest import LogIn, World
from tests.cases import cases


@pytest.fixture
def pipeline(acme: World) -> Pipeline:
    """A pipeline with a policy that differs from the default."""
    changes = {"retryLimit": 5, "rollBackDays": 7, "reasonRequired": True}
    return policy.change(acme.release.pipeline, changes, actor="user:x")


@cases(
    ("sent", "saved"),
    [
        ({"signature_policy": "require"}, {}),
        ({"unverified_workers": "allow"}, {}),
        ({"worker_gate": "warn"}, {}),
        ({"missing_artifacts": "identity-only"}, {}),
        ({"reason_required": ["off", "on"]}, {"reason_required": True}),
        ({"validate_answers": ["off"]}, {"validate_answers": False}),
        ({"retry_limit": "0", "retry_multiplier": "1.5"}, {"retry_limit": 0, "retry_multiplier": 1.5}),
        ({"retry_limit": ""}, {"retry_limit": None}),
        ({"rollback_days": ""}, {"rollback_days": 7}),
    ],
)
def test_only_the_members_that_the_form_sends_change(
    log_in: LogIn, pipeline: Pipeline, sent: dict[str, Any], saved: dict[str, Any]
) -> None:
    """A check box that is not checked sends only `off`. An empty number unsets what can be unset."""
    before = Pipeline.objects.values().get(pk=pipeline.pk)
    log_in("tenant-admin").post(to("releases_pipeline_policy", pipeline), sent)
    assert Pipeline.objects.values().get(pk=pipeline.pk) == {**before, **(saved or sent)}


@cases(
    "wrong",
    [
        *({"rollback_days": "0"}, {"retry_limit": "1.5"}, {"reason_required": "perhaps"}, {"worker_gate": "perhaps"}),
    ],
)
def test_an_invalid_value_changes_nothing(log_in: LogIn, acme: World, wrong: dict[str, str]) -> None:
    before = Pipeline.objects.values().get(pk=acme.release.pipeline_id)
    sent = {"signature_policy": "require", **wrong}
    log_in("tenant-admin").post(to("releases_pipeline_policy", acme.release.pipeline_id), sent)
    assert Pipeline.objects.values().get(pk=acme.release.pipeline_id) == before
