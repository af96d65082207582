"""The conformance checklist of the wire protocol (appendix 2), with the tests that verify each item."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKLIST = {
    "404 when disabled, before auth": [
        "interop.test_guard:test_a_disabled_surface_is_not_found_even_with_a_valid_token",
    ],
    "Bearer": [
        "interop.test_guard:test_an_enabled_surface_requires_its_own_token",
        "interop.test_guard:test_a_token_that_cannot_be_resolved_is_unavailable",
    ],
    "strict descriptor parsing": [
        "interop.test_registration:test_an_invalid_descriptor_is_reported_and_leaves_no_rows",
        "unit.wire.documents.test_malformed_descriptors:test_a_broken_descriptor_gets_exactly_its_finding",
    ],
    "digest and contract match": [
        "interop.test_registration:test_an_invalid_descriptor_is_reported_and_leaves_no_rows",
        "interop.test_registration:test_a_jar_without_a_contract_is_rejected",
    ],
    "idempotent re-register": [
        "interop.test_registration:test_registering_a_release_again_returns_it_unchanged",
        "interop.test_registration:test_other_metadata_under_the_same_version_is_a_conflict",
    ],
    "append-only activation": [
        "interop.test_admin:test_releases_are_activated_and_rolled_back",
        "invariants.test_matrix:test_which_columns_may_change",
        "invariants.test_new_rows:test_wrong_values_are_rejected",
    ],
    "503 gate with capability and HEALTHY record of the right protocol": [
        "interop.test_submission_checks:test_silent_drained_and_unknown_workers_are_not_eligible",
        "interop.test_submission_checks:test_a_worker_that_reports_another_release_is_not_eligible",
        "interop.test_submission_checks:test_a_worker_that_cannot_be_checked_is_not_eligible",
    ],
    "payload verbatim pass-through": [
        "interop.test_submissions:test_the_worker_receives_the_payload_unchanged",
        "interop.test_results:test_a_result_is_returned_unchanged",
    ],
    "stopBeforeStepIndex -1": [
        "executions.transports.rest.test_dispatch:test_the_command_has_fifteen_members_and_the_pin_of_the_execution",
    ],
    "identity pinned from the execution, not the active release": [
        "executions.transports.rest.test_dispatch:test_the_command_has_fifteen_members_and_the_pin_of_the_execution",
        "e2e.test_interop:test_an_execution_keeps_its_pin_if_its_worker_reports_another_release",
    ],
    "signature over configured path": [
        "executions.transports.rest.test_dispatch:test_the_signed_path_does_not_include_the_path_of_the_base_url",
        "unit.wire.messages.test_vectors:test_1_signatures",
    ],
    "outcome exclusivity": [
        "unit.wire.messages.test_rest_messages:test_a_result_has_only_the_members_of_its_outcome",
    ],
    "park and import atomically": [
        "executions.transports.rest.test_assignment:test_parking_and_importing_are_atomic",
    ],
    "completion idempotent by interaction and re-enqueueing": [
        "interop.test_questions:test_only_the_first_answer_counts_and_a_repeat_is_a_duplicate",
        "executions.awaits.test_answers:test_the_first_answer_counts",
        "interop.test_suspensions:test_the_ids_of_a_worker_are_returned_unchanged",
    ],
    "resume typed as outputType": [
        "interop.test_questions:test_a_question_is_identified_by_correlation_id_or_token",
        "executions.transports.rest.test_dispatch:test_the_order_flow_resumes_with_its_decision",
    ],
    "retry budget and 30-minute cap": [
        "executions.transports.rest.test_dispatch:test_a_retry_and_a_redrive_after_an_await_send_the_same_decision",
        "unit.executions.state_machine.test_retry:test_the_limit_counts_retries_and_not_runs",
        "unit.executions.state_machine.test_retry:test_no_wait_is_longer_than_thirty_minutes",
    ],
    "takeover by lease expiry with same key": [
        "executions.transports.rest.test_failed_calls:test_an_outcome_after_the_lease_was_lost_is_dropped",
        "e2e.test_interop:test_an_execution_survives_a_control_worker_that_is_killed_during_a_call",
    ],
    "log line on terminal failure": [
        "executions.state_machine.test_dead_letters:test_every_terminal_failure_is_logged",
        "executions.state_machine.test_dead_letters:test_a_failure_is_logged_after_its_commit",
        "e2e.test_interop:test_an_existing_client_works_unchanged",
    ],
    "redrive resets nothing but status, errors and lease, and bumps attempt": [
        "interop.test_admin:test_a_failed_execution_is_redriven",
        "executions.transports.rest.test_dispatch:test_a_retry_and_a_redrive_after_an_await_send_the_same_decision",
    ],
}


TESTS = Path(__file__).parents[1]
MODULES = sorted({test.partition(":")[0] for tests in CHECKLIST.values() for test in tests})


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The tests that pytest collects in the modules of the checklist, without parameters."""
    files = [str(TESTS / f"{module.replace('.', '/')}.py") for module in MODULES]
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-n0", *files],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.partition("[")[0] for line in listed.stdout.splitlines() if "::" in line}


@pytest.mark.parametrize("item", CHECKLIST)
def test_every_item_names_collected_tests(item: str, collected: set[str]) -> None:
    assert CHECKLIST[item]
    for test in CHECKLIST[item]:
        module, _, name = test.partition(":")
        assert f"tests/{module.replace('.', '/')}.py::{name}" in collected
