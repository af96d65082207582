"""The database rejects invalid pipelines and activations. A pipeline points to its newest activation."""

import pytest

from releases.activation.activation import activate
from releases.models import Activation, Release
from tests import making
from tests.raw_sql import check_foreign_keys_now, run
from tests.releases.invariants.rejecting import rejected_by

pytestmark = pytest.mark.django_db

ACTIVATION = """INSERT INTO releases_activation
    (pipeline_id, sequence, release_id, previous_id, kind, actor, reason, operation_key, activated_at)
    VALUES (%s, %s, %s, %s, 'activation', '', '', %s, now())"""
PIPELINE = """INSERT INTO releases_pipeline
        (tenant_id, pipeline_id, application, reason_required, signature_policy, worker_gate, validate_answers,
        unverified_workers, missing_artifacts, rollback_days, approvals, approval_hours, emergency_override,
        skew_grace_minutes, created_at)
    SELECT tenant_id, {name}, '', false, 'off', 'require', true, 'refuse', 'reject', 30, 0, 72, false, 0, now()
    FROM releases_pipeline WHERE id = %s"""


def test_an_activation_names_a_registered_release_of_its_own_pipeline(release: Release) -> None:
    other = making.registered(release.pipeline.tenant, pipeline_id="org.example.other")
    contract = making.contract()
    uploaded = making.upload(release.pipeline.tenant, making.descriptor(contract, b"", "3.0")).release
    for named in (other, uploaded):
        parameters = (release.pipeline_id, 2, named.pk, release.pk, None)
        assert rejected_by(ACTIVATION, *parameters) == "activation_own_release"


@pytest.mark.parametrize("sequence", [0, 1, 3])
def test_an_activation_follows_the_newest_without_a_gap(release: Release, sequence: int) -> None:
    parameters = (release.pipeline_id, sequence, release.pk, release.pk, None)
    assert rejected_by(ACTIVATION, *parameters) == "activation_in_sequence"


def test_an_activation_names_what_it_replaced(release: Release) -> None:
    second = making.registered(release.pipeline.tenant, "2.0")
    for previous in (None, second.pk):
        parameters = (release.pipeline_id, 2, second.pk, previous, None)
        assert rejected_by(ACTIVATION, *parameters) == "activation_in_sequence"
    activate(second, actor="")
    assert rejected_by(ACTIVATION, release.pipeline_id, 2, second.pk, release.pk, None) == "activation_in_sequence"


def test_an_operation_key_is_used_once_in_a_pipeline(release: Release) -> None:
    activate(release, actor="", operation_key="k")
    parameters = (release.pipeline_id, 3, release.pk, release.pk, "k")
    assert rejected_by(ACTIVATION, *parameters) == "activation_operation_once"


@pytest.mark.parametrize("constraint", ["activation_sequence_once", "activation_sequence_from_one"])
def test_without_the_trigger_the_sequence_is_still_kept(release: Release, constraint: str) -> None:
    sequence = 1 if constraint == "activation_sequence_once" else 0
    run("ALTER TABLE releases_activation DISABLE TRIGGER activation_guard")
    parameters = (release.pipeline_id, sequence, release.pk, release.pk, None)
    assert rejected_by(ACTIVATION, *parameters) == constraint


def test_the_pointer_names_the_newest_activation_and_no_other(release: Release) -> None:
    activate(release, actor="")
    first = Activation.objects.get(pipeline=release.pipeline, sequence=1)
    sql = "UPDATE releases_pipeline SET activation_id = %s WHERE id = %s"
    for pointer in (first.pk, None):
        assert rejected_by(sql, pointer, release.pipeline_id) == "pipeline_newest_activation"


def test_an_activation_moves_the_pointer_before_the_commit(release: Release) -> None:
    activation = f"{ACTIVATION}; SET CONSTRAINTS ALL IMMEDIATE"
    parameters = (release.pipeline_id, 2, release.pk, release.pk, None)
    assert rejected_by(activation, *parameters) == "activation_moves_pointer"
    activate(release, actor="")
    check_foreign_keys_now()


@pytest.mark.parametrize("change", ["pipeline_id = 'other'", "tenant_id = tenant_id + 1", "id = id + 1000"])
def test_a_pipelines_tenant_and_name_never_change(release: Release, change: str) -> None:
    sql = f"UPDATE releases_pipeline SET {change} WHERE id = %s"
    assert rejected_by(sql, release.pipeline_id) == "pipeline_immutable"


def test_a_new_pipeline_has_no_activation(release: Release) -> None:
    sql = """INSERT INTO releases_pipeline (
            tenant_id, pipeline_id, reason_required, validate_answers, activation_id, created_at)
        SELECT tenant_id, 'other', false, true, activation_id, now() FROM releases_pipeline WHERE id = %s"""
    assert rejected_by(sql, release.pipeline_id) == "pipeline_newest_activation"


@pytest.mark.parametrize("application", ["other", "Orders", ""])
def test_the_application_of_a_pipeline_is_set_once(release: Release, application: str) -> None:
    sql = "UPDATE releases_pipeline SET application = %s WHERE id = %s"
    assert rejected_by(sql, application, release.pipeline_id) == "pipeline_application_once"
    run(sql, "orders", release.pipeline_id)


@pytest.mark.parametrize("change", ["retry_delay_seconds = -0.1", "retry_multiplier = 0.9"])
def test_the_retry_settings_of_a_pipeline_are_in_range(release: Release, change: str) -> None:
    sql = f"UPDATE releases_pipeline SET {change} WHERE id = %s"
    assert rejected_by(sql, release.pipeline_id) == "pipeline_retries_sane"


@pytest.mark.parametrize(
    ("name", "constraint"),
    [("pipeline_id", "pipeline_once"), ("''", "pipeline_id_not_blank"), (r"E' \t\n'", "pipeline_id_not_blank")],
)
def test_a_pipelines_name_is_not_blank_and_used_once_in_a_tenant(release: Release, name: str, constraint: str) -> None:
    assert rejected_by(PIPELINE.format(name=name), release.pipeline_id) == constraint
