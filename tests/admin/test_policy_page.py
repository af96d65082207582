"""The policy of a pipeline in the admin."""

from typing import Any

import pytest

from releases.activation import policy
from releases.activation.policy import MEMBERS
from releases.models import MissingArtifacts, Pipeline
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
        ({"reason_required": ["off"]}, {"reason_required": False}),
        ({"validate_answers": ["off"]}, {"validate_answers": False}),
        ({"retry_limit": "0", "retry_multiplier": "1.5"}, {"retry_limit": 0, "retry_multiplier": 1.5}),
        ({"retry_limit": ""}, {"retry_limit": None}),
        ({"rollback_days": ""}, {"rollback_days": 7}),
        ({"rollback_days": "3650"}, {"rollback_days": 3650}),
    ],
)
def test_only_the_members_that_the_form_sends_change(
    log_in: LogIn, pipeline: Pipeline, sent: dict[str, Any], saved: dict[str, Any]
) -> None:
    """A check box that is not checked sends only `off`. An empty number unsets what can be unset."""
    before = Pipeline.objects.values().get(pk=pipeline.pk)
    client = log_in("tenant-admin")
    assert "Nothing changed" not in client.post(to("releases_pipeline_policy", pipeline), sent, follow=True).text
    assert Pipeline.objects.values().get(pk=pipeline.pk) == {**before, **(saved or sent)}


@cases(
    "wrong",
    [
        *({"rollback_days": value} for value in ("0", "3651", "x")),
        *({"retry_limit": "1.5"}, {"reason_required": "perhaps"}, {"signature_policy": "perhaps"}),
        *({"worker_gate": "perhaps"}, {"unverified_workers": "perhaps"}, {"missing_artifacts": "perhaps"}),
    ],
)
def test_an_invalid_value_changes_nothing(log_in: LogIn, acme: World, wrong: dict[str, str]) -> None:
    before = Pipeline.objects.values().get(pk=acme.release.pipeline_id)
    sent = {"signature_policy": "require", **wrong}
    address = to("releases_pipeline_policy", acme.release.pipeline_id)
    assert "Nothing changed" in log_in("tenant-admin").post(address, sent, follow=True).text
    assert Pipeline.objects.values().get(pk=acme.release.pipeline_id) == before


def test_the_page_shows_each_member_and_offers_its_change_to_those_who_may(log_in: LogIn, acme: World) -> None:
    address = to("releases_pipeline_change", acme.release.pipeline_id)
    for value in ("reject", "identity-only"):
        policy.change(acme.release.pipeline, {"missingArtifacts": value}, actor="user:x")
        viewer, admin = log_in("viewer").get(address).text, log_in("tenant-admin").get(address).text
        assert f'data-member="missingArtifacts">{MissingArtifacts(value).label}<' in viewer
        [option] = [line for line in admin.split("<option") if f'value="{value}"' in line]
        assert "selected" in option
        for member in MEMBERS:
            assert f'data-member="{member.name}"' in viewer
            assert f'name="{member.column}"' not in viewer
            assert f'name="{member.column}"' in admin
