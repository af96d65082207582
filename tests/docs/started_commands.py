"""Which test starts each documented command, and why no test starts the others. The longest prefix counts.

`tests/docs/test_commands.py` fails for a command of a document, the Makefile or `deploy/` that is not listed here.
"""

from typing import Final

BACKUP = (
    "parts/recovery/test_backup.py::test_what_was_acknowledged_before_a_backup_survives_the_loss_of_the_installation"
)
KEYS = "parts/product/test_worker_key_rotation.py::installation"
TENANT = "building.py::first_tenant"
SET_UP = "foundation/database/postgresql/test_setup.py::installation"
WHEELS = "parts/distributions/test_durable_coordinator.py::test_the_wheels_are_built_and_installed_as_documented"
PROGRAMS = "docs/test_commands.py::test_a_program_starts_in_an_empty_environment"
BUILD = "parts/distributions/test_durable_pipelines.py::test_it_builds_releases_and_hosts_a_pipeline"
README = "parts/distributions/test_readme.py::test_the_commands_of_the_readme"
LOCAL = "unit/pipelines/test_local_commands.py::test_a_new_project_runs_passes_its_test_and_is_released"

STARTED_BY: Final = {
    "coordinator backup": BACKUP,
    "coordinator broker_acl": "coordinator/test_command_settings.py::test_some_commands_need_only_the_database",
    "coordinator collectstatic": "coordinator/test_command_settings.py::test_some_commands_need_no_setting",
    "coordinator create_tenant": TENANT,
    "coordinator createsuperuser": TENANT,
    "coordinator dev": "parts/distributions/test_durable_coordinator.py::"
    "test_a_coordinator_of_one_machine_is_killed_and_continues_with_its_data",
    "coordinator executions": "parts/product/test_command_line.py::test_executions_from_submission_to_result",
    "coordinator list_accepted": "executions/submission/test_quotas.py::test_it_lists_what_was_accepted_since_a_time",
    "coordinator login": "parts/product/test_command_line.py::test_tokens_and_profiles",
    "coordinator migrate": SET_UP,
    "coordinator move_artifacts": "releases/artifacts/test_relocation.py::"
    "test_a_coordinator_changes_its_store_and_continues",
    "coordinator releases": "parts/product/test_command_line.py::test_a_release_from_its_upload_to_its_end",
    "coordinator restore": BACKUP,
    "coordinator run clock": "parts/product/test_monitoring.py::test_a_process_that_works_stays_alive",
    "coordinator run control": "parts/product/test_monitoring.py::test_a_process_that_works_stays_alive",
    "coordinator run web": "parts/web/test_processes.py::test_processes_share_memory_with_their_parent_and_end_with_it",
    "coordinator setup_database": SET_UP,
    "coordinator sweep_artifacts": "parts/product/test_pgbouncer.py::"
    "test_the_whole_journey_of_a_release_and_its_executions",
    "coordinator verify_audit": BACKUP,
    "coordinator worker_key": KEYS,
    "make bench": PROGRAMS,
    "make demo": "parts/distributions/test_durable_coordinator.py::test_the_demo_ends_without_a_terminal",
    "make help": PROGRAMS,
    "make mutants": PROGRAMS,
    "make recovery": "parts/recovery/test_programs.py::test_the_campaign_runs_to_its_end",
    "pip install": WHEELS,
    "pipelines activate": "parts/product/test_ci_templates.py::test_the_action_signs_publishes_comments_and_activates",
    "pipelines build": BUILD,
    "pipelines dev": "e2e/test_dev.py::test_each_save_is_released_and_older_executions_finish_where_they_began",
    "pipelines diff": "unit/pipelines/test_command_line.py::test_equal_releases_and_other_code_are_compatible",
    "pipelines env sync": "parts/distributions/test_durable_pipelines.py::"
    "test_a_worker_starts_in_the_environment_that_was_made_for_its_release",
    "pipelines key": "parts/product/test_ci_templates.py::signing_key",
    "pipelines new": LOCAL,
    "pipelines publish": "parts/product/test_located_release.py::test_a_release_is_verified_published_and_executed",
    "pipelines release": README,
    "pipelines run": LOCAL,
    "pipelines verify-provenance": "parts/product/test_provenance.py::"
    "test_the_code_of_an_execution_is_proven_with_the_commands_of_the_guide",
    "pipelines verify-release": "parts/product/test_located_release.py::"
    "test_a_release_is_verified_published_and_executed",
    "pipelines worker": "parts/distributions/test_durable_pipelines.py::test_it_builds_releases_and_hosts_a_pipeline",
    "python -m pip": WHEELS,
    "python -m pipelines": PROGRAMS,
    "python -m tests.mutants": PROGRAMS,
    "python -m venv": WHEELS,
    "pytest": LOCAL,
    "sed": README,
}

NOT_STARTED: Final = {
    "./bootstrap": "every other target of the Makefile starts it",
    "cd": "changes the folder of the commands that follow it",
    "cp": "changes /etc",
    "curl": "the tests of the API send these requests; here, their paths, methods and bodies are checked",
    "docker": "needs Docker",
    "export": "sets variables, which are checked here",
    "helm": "needs a cluster",
    "install": "changes /etc",
    "kubectl": "needs a cluster",
    "make check": "runs before the tests",
    "make clean": "would remove the environment of the tests",
    "make format": "would change the checkout",
    "make screenshots": "needs a browser, and has no result to check",
    "make setup": "every other target starts it",
    "make costs": "runs in `make test`",
    "make test": "runs these tests",
    "make test-all": "runs the other tests",
    "mkdir": "belongs to commands that need Docker",
    "podman": "needs podman; tests/parts/deploy/test_image.py builds the image with buildah",
    "python -m pytest": "runs these tests",
    "python -m tests.parts.upgrade.released": "writes a file of the repository",
    "source": "reads a file that another command has written",
    "systemctl": "needs systemd as the first process",
    "useradd": "changes the accounts of the machine",
    "valkey-cli": "needs an administrator of the broker",
}
