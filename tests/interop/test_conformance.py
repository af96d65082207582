"""The conformance checklist of the wire protocol's appendix 2, as a table of the tests that hold each of its items."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKLIST = {
    "404 when disabled, before auth": [
        "interop.test_guard:test_switched_off_it_is_not_there_even_for_the_right_token",
    ],
    "Bearer": [
        "interop.test_guard:test_switched_on_it_lets_in_nobody_but_the_bearer_of_its_own_token",
        "interop.test_guard:test_a_token_that_cannot_be_had_is_unavailable",
    ],
    "strict descriptor parsing": [
        "interop.test_admin:test_what_is_wrong_with_a_descriptor_is_told_and_leaves_nothing",
        "unit.wire.documents.test_malformed_descriptors:test_a_broken_descriptor_gets_exactly_its_finding",
    ],
    "digest and contract match": [
        "interop.test_admin:test_what_is_wrong_with_a_descriptor_is_told_and_leaves_nothing",
        "interop.test_admin:test_a_jar_without_a_contract_is_refused",
    ],
    "idempotent re-register": [
        "interop.test_admin:test_a_release_is_registered_from_its_files_and_again_as_it_is",
        "interop.test_admin:test_other_metadata_under_the_same_version_is_a_conflict",
    ],
    "append-only activation": [
        "interop.test_admin:test_activation_moves_on_and_back",
        "releases.test_invariants:test_nothing_is_changed_or_removed",
        "releases.test_invariants:test_an_activation_follows_the_newest_without_a_gap",
    ],
    "503 gate with capability and HEALTHY record of the right protocol": [
        "interop.test_control_plane:test_a_worker_that_is_silent_drained_or_unknown_lets_nothing_in",
        "interop.test_control_plane:test_a_worker_that_says_it_hosts_something_else_lets_nothing_in",
        "interop.test_control_plane:test_a_worker_that_cannot_be_asked_lets_nothing_in",
    ],
    "payload verbatim pass-through": [
        "interop.test_control_plane:test_the_payload_reaches_the_worker_to_the_letter",
        "interop.test_control_plane:test_a_result_is_the_workers_own_to_the_letter",
    ],
    "stopBeforeStepIndex -1": [
        "interop.test_dispatch:test_the_command_has_fifteen_members_and_the_pin_of_the_execution",
    ],
    "identity pinned from the execution, not the active release": [
        "interop.test_dispatch:test_the_command_has_fifteen_members_and_the_pin_of_the_execution",
        "e2e.test_interop:test_what_is_pinned_stays_pinned_whatever_its_worker_says",
    ],
    "signature over configured path": [
        "interop.test_dispatch:test_the_signed_path_does_not_include_the_path_of_the_base_url",
        "unit.wire.messages.test_vectors:test_1_signatures",
    ],
    "outcome exclusivity": [
        "unit.wire.messages.test_rest_messages:test_a_result_has_what_belongs_to_its_outcome_alone",
    ],
    "park and import atomically": [
        "interop.test_assignment:test_parking_and_importing_are_one",
    ],
    "completion idempotent by interaction and re-enqueueing": [
        "interop.test_control_plane:test_an_answer_counts_once_and_a_repeat_wakes_the_execution",
        "executions.awaits.test_awaits:test_the_first_answer_is_kept",
        "interop.test_dispatch:test_the_ids_that_a_worker_chose_are_told_to_the_letter",
    ],
    "resume typed as outputType": [
        "interop.test_control_plane:test_an_answer_names_its_question_in_other_ways",
        "interop.test_dispatch:test_the_order_flow_waits_for_its_decision_and_goes_on_with_it",
    ],
    "retry budget and 30-minute cap": [
        "interop.test_dispatch:test_a_retry_and_a_redrive_after_an_await_send_the_same_decision",
        "unit.executions.state_machine.test_retry:test_the_limit_counts_retries_and_not_runs",
        "unit.executions.state_machine.test_retry:test_no_wait_is_longer_than_thirty_minutes",
    ],
    "takeover by lease expiry with same key": [
        "interop.test_dispatch:test_an_outcome_that_comes_after_the_lease_was_lost_is_dropped",
        "e2e.test_interop:test_a_control_worker_that_is_killed_in_the_middle_of_a_call_loses_nothing",
    ],
    "log line on terminal failure": [
        "executions.lifecycle.test_dead_letters:test_every_failure_for_good_has_its_line",
        "executions.lifecycle.test_dead_letters:test_the_log_says_so_once_it_is_committed",
        "e2e.test_interop:test_an_existing_client_works_unchanged",
    ],
    "redrive resets nothing but status, errors and lease, and bumps attempt": [
        "interop.test_admin:test_a_dead_execution_is_driven_again",
        "interop.test_dispatch:test_a_retry_and_a_redrive_after_an_await_send_the_same_decision",
    ],
}


TESTS = Path(__file__).parents[1]
MODULES = sorted({test.partition(":")[0] for tests in CHECKLIST.values() for test in tests})


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The tests that pytest itself finds in the modules of the checklist, each once however often it is run."""
    files = [str(TESTS / f"{module.replace('.', '/')}.py") for module in MODULES]
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-n0", *files],
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.partition("[")[0] for line in told.stdout.splitlines() if "::" in line}


@pytest.mark.parametrize("item", CHECKLIST)
def test_every_item_is_held_by_tests_that_are_run(item: str, collected: set[str]) -> None:
    assert CHECKLIST[item]
    for test in CHECKLIST[item]:
        module, _, name = test.partition(":")
        assert f"tests/{module.replace('.', '/')}.py::{name}" in collected
