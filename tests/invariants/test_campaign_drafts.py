"""Drafts of campaigns: the application role can start and remove them, and nothing else."""

import pytest

from tests.invariants.attempts import NO_RIGHT, Connection, refusal, unguarded
from tests.invariants.new_rows_of_operations import CAMPAIGN, NEW_CAMPAIGN, items

START = "UPDATE executions_campaign SET status = 'RUNNING', rate_since = now()"
OF_DRAFT = f" WHERE id = {CAMPAIGN}"
REMOVE_ITEMS = f"DELETE FROM executions_campaignitem WHERE campaign_id = {CAMPAIGN}"
REMOVE = f"DELETE FROM executions_campaign WHERE id = {CAMPAIGN}"


@pytest.fixture
def draft(database: Connection) -> Connection:
    """A database with a draft that has two items."""
    database.execute(NEW_CAMPAIGN.statement({"status": "'DRAFT'"}))
    database.execute(f"""INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
        SELECT {CAMPAIGN}, e.id, e.version {items("dead", "failed")}""")
    return database


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("", ""),
        (", reason = 'y', rate_per_minute = 9, created_by = 'z', canary = 1, stop_after_failures = 2", ""),
        (", kind = 'resubmit', target_release_version = '1.0'", "campaign_immutable"),
        (", filters = '[]'", "campaign_immutable"),
        (", allow_failed = false", "campaign_immutable"),
        (", admitted = 1", "campaign_draft_starts"),
        (", failures_accepted = 1", "campaign_draft_starts"),
        (", canary = 1, canary_over = true", "campaign_draft_starts"),
        (", canary = 0", "campaign_bounds"),
        (", target_release_version = '1.0'", "campaign_target_of_resubmission"),
        (", cut = true", NO_RIGHT),
        (", tenant_id = 0", NO_RIGHT),
    ],
)
def test_only_the_options_of_a_draft_change_as_it_starts(draft: Connection, changes: str, expected: str) -> None:
    found = refusal(draft, START + changes + OF_DRAFT, ordinary=True)
    assert found == (NO_RIGHT if changes.startswith((", kind", ", filters", ", allow")) else expected)
    if found == NO_RIGHT and expected != NO_RIGHT:
        assert refusal(draft, START + changes + OF_DRAFT) == expected


@pytest.mark.parametrize("status", ["DRAFT", "PAUSED", "COMPLETED", "CANCELLED"])
def test_a_draft_only_starts(draft: Connection, status: str) -> None:
    finish = "now()" if status in ("COMPLETED", "CANCELLED") else "NULL"
    change = f"UPDATE executions_campaign SET status = '{status}', reason = 'y', finished_at = {finish}" + OF_DRAFT
    assert refusal(draft, change, ordinary=True) == "campaign_draft_starts"


def test_a_draft_starts_now(draft: Connection) -> None:
    start = f"UPDATE executions_campaign SET status = 'RUNNING', rate_since = {{}}{OF_DRAFT}"
    assert refusal(draft, start.format("now() - interval '1 second'"), ordinary=True) == "campaign_draft_starts"


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED"])
def test_a_campaign_that_has_started_is_never_a_draft_again(database: Connection, status: str) -> None:
    change = f"UPDATE executions_campaign SET status = 'DRAFT' WHERE status = '{status}'"
    assert refusal(database, change, ordinary=True) == "campaign_draft_starts"


def test_a_draft_is_removed_with_its_items(draft: Connection) -> None:
    assert refusal(draft, f"{REMOVE_ITEMS}; {REMOVE}", ordinary=True) == ""
    assert refusal(draft, REMOVE, ordinary=True).startswith("executions_campaigni_campaign_id")
    assert refusal(draft, REMOVE_ITEMS.replace(CAMPAIGN, f"{CAMPAIGN} OR true"), ordinary=True) == (
        "campaign_item_not_deleted"
    )


@pytest.mark.parametrize("status", ["RUNNING", "PAUSED"])
def test_nothing_of_a_campaign_that_has_started_is_removed(draft: Connection, status: str) -> None:
    unguarded(draft, "executions_campaign", f"UPDATE executions_campaign SET status = '{status}'" + OF_DRAFT)
    assert refusal(draft, REMOVE_ITEMS, ordinary=True) == "campaign_item_not_deleted"
    assert refusal(draft, REMOVE, ordinary=True) == "campaign_not_deleted"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("failures_accepted = 1, status = 'RUNNING', cause = ''", ""),
        ("failures_accepted = 1", "campaign_resume_accepts"),
        ("status = 'RUNNING'", "campaign_cause_of_pause"),
        ("cause = 'failures'", "campaign_cause_of_pause"),
        ("canary_over = true", ""),
        ("cause = ''", ""),
    ],
)
def test_only_a_resume_accepts_failures(draft: Connection, changes: str, expected: str) -> None:
    paused = "UPDATE executions_campaign SET status = 'PAUSED', canary = 1, cause = 'canary'" + OF_DRAFT
    unguarded(draft, "executions_campaign", paused)
    assert refusal(draft, f"UPDATE executions_campaign SET {changes}{OF_DRAFT}", ordinary=True) == expected


def test_a_canary_is_over_once(draft: Connection) -> None:
    over = "UPDATE executions_campaign SET status = 'RUNNING', canary = 1, canary_over = true" + OF_DRAFT
    unguarded(draft, "executions_campaign", over)
    back = "UPDATE executions_campaign SET canary_over = false" + OF_DRAFT
    assert refusal(draft, back, ordinary=True) == "campaign_resume_accepts"
