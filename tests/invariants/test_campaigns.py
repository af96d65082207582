import pytest

from tests.invariants.attempts import NO_RIGHT, Connection, refusal, results, unguarded
from tests.invariants.new_rows import PAST
from tests.invariants.new_rows_of_executions import execution
from tests.invariants.new_rows_of_operations import CAMPAIGN, NEW_CAMPAIGN, items

CHANGE = f"UPDATE executions_campaign SET {{}} WHERE id = {CAMPAIGN}"
START = "status = 'RUNNING', rate_since = now()"
REMOVE_ITEMS = f"DELETE FROM executions_campaignitem WHERE campaign_id = {CAMPAIGN}"
REMOVE = f"DELETE FROM executions_campaign WHERE id = {CAMPAIGN}"


@pytest.fixture
def draft(database: Connection) -> Connection:
    """A database with a draft that has two items."""
    database.execute(NEW_CAMPAIGN.statement("status = 'DRAFT'"))
    database.execute(f"""INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
        SELECT {CAMPAIGN}, e.id, e.version {items("dead", "failed")}""")
    return database


def test_only_the_options_of_a_draft_change_as_it_starts(draft: Connection) -> None:
    changes = {
        START: "",
        f"{START}, reason = 'y', rate_per_minute = 9, created_by = 'z', canary = 1, stop_after_failures = 2": "",
        f"{START}, admitted = 1": "campaign_draft_starts",
        f"{START}, failures_accepted = 1": "campaign_draft_starts",
        f"{START}, canary = 1, canary_over = true": "campaign_draft_starts",
        f"{START}, canary = 0": "campaign_bounds",
        f"{START}, target_release_version = '1.0'": "campaign_target_of_resubmission",
        f"status = 'RUNNING', rate_since = {PAST}": "campaign_draft_starts",
        f"{START}, cut = true": "campaign_immutable",
        f"{START}, tenant_id = 0": NO_RIGHT,
    }
    expected = {CHANGE.format(change): name for change, name in changes.items()}
    assert results(draft, expected) == expected
    others = ("kind = 'resubmit', target_release_version = '1.0'", "filters = '[]'", "allow_failed = false")
    statements = [CHANGE.format(f"{START}, {other}") for other in others]
    assert results(draft, statements) == dict.fromkeys(statements, NO_RIGHT)
    assert results(draft, statements, ordinary=False) == dict.fromkeys(statements, "campaign_immutable")


def batch(position: int, change: str = "") -> str:
    return f"""WITH taken AS (
        DELETE FROM executions_campaignbatch WHERE campaign_id = {CAMPAIGN} AND position = {position} RETURNING *)
    INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
    SELECT campaign_id, unnest(executions), unnest(versions){change} FROM taken"""


def test_a_draft_has_exactly_the_items_that_it_selected(database: Connection) -> None:
    """The items are those of the first batch, also after the executions have changed."""
    database.execute(NEW_CAMPAIGN.statement("status = 'DRAFTING'"))
    for position, key in enumerate(("dead", "failed")):
        database.execute(f"""INSERT INTO executions_campaignbatch (campaign_id, position, executions, versions)
            SELECT {CAMPAIGN}, {position}, ARRAY[e.id], ARRAY[e.version] {items(key)}""")
    database.execute(CHANGE.format("selected = 2, cut = true, revoked_releases = '{1}'"))
    change = "SET version = version + 1, event_count = event_count + 1"
    unguarded(database, f"UPDATE executions_execution {change} WHERE id = {execution('dead')}")
    first, second, done = batch(0), batch(1), CHANGE.format("status = 'DRAFT'")
    expected = {
        done: "campaign_draft_complete",
        CHANGE.format(START): "campaign_draft_starts",
        CHANGE.format("reason = 'y'"): "campaign_immutable",
        first: "",
        batch(0, " + 1"): "campaign_items_with_campaign",
        second: "campaign_items_with_campaign",
        f"{first}; {done}": "campaign_draft_complete",
        f"DELETE FROM executions_campaignbatch; {done}": "campaign_draft_complete",
        f"{first}; DELETE FROM executions_campaignbatch; {done}": "campaign_draft_complete",
        f"{first}; {second}; {done}": "",
        f"{first}; {second}; {done}; {CHANGE.format(START)}": "",
        f"{first}; {second}; {done}; {CHANGE.format('selected = 3')}": "campaign_immutable",
    }
    assert results(database, expected) == expected
    later = "created_at = now() - interval '1 day'"
    unguarded(database, CHANGE.format(later))
    assert refusal(database, CHANGE.format("selected = 1"), ordinary=True) == "campaign_immutable"
    unguarded(database, CHANGE.format("status = 'DRAFT'"))
    expected = {CHANGE.format(START): "campaign_draft_complete", first: "campaign_items_with_campaign"}
    assert results(database, expected) == expected


def test_a_draft_is_removed_with_its_items_and_nothing_of_a_campaign_that_has_started(draft: Connection) -> None:
    assert refusal(draft, f"{REMOVE_ITEMS}; {REMOVE}", ordinary=True) == ""
    assert refusal(draft, REMOVE, ordinary=True).startswith("executions_campaigni_campaign_id")
    assert refusal(draft, f"{REMOVE_ITEMS} OR true", ordinary=True) == "campaign_item_not_deleted"
    expected = {REMOVE_ITEMS: "campaign_item_not_deleted", REMOVE: "campaign_not_deleted"}
    for status in ("RUNNING", "PAUSED"):
        assert results(draft, expected, setup=CHANGE.format(f"status = '{status}'")) == expected


def test_only_a_resume_accepts_failures_and_a_canary_is_over_once(draft: Connection) -> None:
    changes = {
        "failures_accepted = 1, status = 'RUNNING', cause = ''": "",
        "failures_accepted = 1": "campaign_resume_accepts",
        "status = 'RUNNING'": "campaign_cause_of_pause",
        "cause = 'failures'": "campaign_cause_of_pause",
        "canary_over = true": "",
        "cause = ''": "",
    }
    expected = {CHANGE.format(change): name for change, name in changes.items()}
    assert results(draft, expected, setup=CHANGE.format("status = 'PAUSED', canary = 1, cause = 'canary'")) == expected
    back, over = CHANGE.format("canary_over = false"), "status = 'RUNNING', canary = 1, canary_over = true"
    assert results(draft, [back], setup=CHANGE.format(over)) == {back: "campaign_resume_accepts"}


def test_an_item_is_resubmitted_with_the_execution_that_its_campaign_created(database: Connection) -> None:
    [(item,)] = database.execute("SELECT id FROM executions_campaignitem WHERE outcome = 'RESUBMITTED'")
    created = "(SELECT new_execution_id FROM executions_resubmission)"
    other = "(SELECT id FROM executions_execution WHERE execution_key = 'succeeded')"
    change = "UPDATE executions_campaignitem SET outcome = 'RESUBMITTED', new_execution_id = {} WHERE id = {}"
    unguarded(
        database, f"UPDATE executions_campaignitem SET outcome = 'PENDING', new_execution_id = NULL WHERE id = {item}"
    )
    [(another,)] = database.execute("SELECT max(id) FROM executions_campaignitem WHERE outcome = 'PENDING'")
    expected = {
        change.format(created, item): "",
        change.format(other, item): "campaign_item_has_resubmission",
        change.format("NULL", item): "campaign_item_resubmitted",
        change.format(created, another): "campaign_item_has_resubmission",
    }
    assert results(database, expected) == expected


def test_only_a_resume_accepts_a_failure_in_its_present_version(database: Connection) -> None:
    again = "UPDATE executions_campaignitem SET accepted_version = {} WHERE outcome = 'RESUBMITTED'"
    [(version,)] = database.execute(
        "SELECT e.version FROM executions_execution e JOIN executions_campaignitem i ON i.new_execution_id = e.id"
    )
    failed = """UPDATE executions_execution SET status = 'DLQ', result = NULL, error_code = 'E', error_message = 'm'
        WHERE id = (SELECT new_execution_id FROM executions_resubmission)"""
    paused = "UPDATE executions_campaign SET status = '{}', cause = '{}', stop_after_failures = 1, finished_at = NULL"
    changes = {
        version: "",
        version + 1: "campaign_resume_accepts",
        f"{version}, code = 'x'": "campaign_item_outcome_once",
    }
    expected = {again.format(value): name for value, name in changes.items()}
    assert results(database, expected, setup=f"{failed}; {paused.format('PAUSED', 'failures')}") == expected
    refused = {again.format(version): "campaign_resume_accepts"}
    for setup in (f"{failed}; {paused.format('PAUSED', '')}", paused.format("PAUSED", "failures")):
        assert results(database, refused, setup=setup) == refused
