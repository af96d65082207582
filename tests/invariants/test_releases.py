import pytest

from tests.invariants.attempts import NO_RIGHT, Connection, refusal, results, unguarded
from tests.invariants.new_rows import PAST, SOON, pipeline, release
from tests.invariants.new_rows_of_releases import ACTIVE, IN_OTHER_PIPELINE, OWN, status_of
from tests.invariants.test_states import RECORDS, release_move

VERDICT = {
    "findings": "'[1]'",
    "contract_id": "(SELECT id FROM releases_contract WHERE pipeline_id = r.pipeline_id)",
    "primary_artifact_id": "'x'",
    "environments": "'[1]'",
    "checkpoints": "true",
    "declarations": "'[1]'",
}


@pytest.mark.parametrize(
    ("version", "target", "expected"),
    [
        ("0.2", "VERIFYING", "release_verdict_once"),
        ("0.3", "REGISTERED", ""),
        ("0.3", "REJECTED", ""),
        ("0.5", "REVOKED", "release_verdict_once"),
    ],
)
def test_a_verdict_ends_a_verification(database: Connection, version: str, target: str, expected: str) -> None:
    values = VERDICT | ({"contract_id": "NULL"} if version == "0.5" else {})
    change = f"UPDATE releases_release r SET status = '{target}', {{}} = {{}} WHERE id = {release(version)}"
    tried = dict.fromkeys((change.format(column, value) for column, value in values.items()), expected)
    assert results(database, tried) == tried


def test_a_verdict_names_a_contract_of_its_own_pipeline_and_version(database: Connection) -> None:
    verifying = release("0.3")
    contract = f"(SELECT contract_id FROM releases_release WHERE id = {IN_OTHER_PIPELINE})"
    change = f"UPDATE releases_release SET status = 'REGISTERED', contract_id = {contract} WHERE id = {verifying}"
    same_version = f"""UPDATE releases_release SET contract_version = (SELECT contract_version FROM releases_release
        WHERE id = {IN_OTHER_PIPELINE}) WHERE id = {verifying}"""
    same_pipeline = f"""UPDATE releases_contract SET pipeline_id = (SELECT pipeline_id FROM releases_release
        WHERE id = {verifying}) WHERE id = {contract}"""
    for setup in (same_version, same_pipeline):
        assert results(database, [change], setup=setup) == {change: "release_own_contract"}


def add_bytes(version: str = "0.3", **changes: str) -> str:
    values = {"blob_id": "digest", "resolved": "true", **changes}
    assignments = ", ".join(f"{column} = {value}" for column, value in values.items())
    return f"UPDATE releases_artifact SET {assignments} WHERE release_id = {release(version)}"


def digest_of(version: str) -> str:
    return f"(SELECT digest FROM releases_artifact WHERE release_id = {release(version)})"


def without_bytes(version: str = "0.3") -> str:
    """Return statements that remove the bytes from all artifacts of the tenant. The blob is just stored."""
    chosen = digest_of(version)
    return f"""UPDATE releases_artifact SET blob_id = NULL, resolved = false WHERE digest = {chosen};
        UPDATE releases_blob SET checked_at = now() WHERE digest IN ({chosen}, {OWN})"""


def test_missing_bytes_are_added_until_the_verdict(database: Connection) -> None:
    late = "artifact_of_verified_release"
    for version, expected in {"0.2": "", "0.3": "", "0.4": late, "0.5": late, "0.1": late}.items():
        statement = add_bytes(version)
        assert results(database, [statement], setup=without_bytes(version)) == {statement: expected}, version


def test_missing_bytes_are_stored_in_the_transaction_or_the_tenant_has_them(database: Connection) -> None:
    other, added = add_bytes(), add_bytes(resolved="false")
    holds = add_bytes("0.5", blob_id=digest_of("0.3"), resolved="false", digest=digest_of("0.3"))
    for change in (f"checked_at = {PAST}", "state = 'DAMAGED'", "state = 'MISSING'", "state = 'REMOVED'"):
        setup = f"{without_bytes()}; UPDATE releases_blob SET {change} WHERE digest = {digest_of('0.3')}"
        assert results(database, [other], setup=setup) == {other: "artifact_bytes_of_tenant"}, change
        assert results(database, [added], setup=f"{setup}; {holds}") == {added: ""}, change


def test_missing_bytes_are_those_of_the_digest_and_added_once(database: Connection) -> None:
    expected = {
        add_bytes(blob_id="NULL"): "artifact_bytes_of_tenant",
        add_bytes(blob_id=f"'{'x' * 71}'"): "artifact_bytes_of_tenant",
        add_bytes(blob_id=OWN): "artifact_blob_is_its_digest",
    }
    assert results(database, expected, setup=without_bytes()) == expected
    for kind in ("container-image", "lambda-image", "external-endpoint"):
        setup = f"{without_bytes()}; {add_bytes(blob_id='NULL', resolved='false', kind=repr(kind))}"
        assert results(database, [add_bytes()], setup=setup) == {add_bytes(): "artifact_bytes_of_stored_kind"}, kind
    others = [add_bytes(uri="'x'"), add_bytes(digest=OWN), add_bytes(release_id=release("0.2"))]
    for ordinary, name in ((True, NO_RIGHT), (False, "artifact_immutable")):
        verdicts = results(database, others, setup=without_bytes(), ordinary=ordinary)
        assert verdicts == dict.fromkeys(others, name)
    again = [add_bytes(resolved="false"), *(add_bytes(blob_id=value) for value in ("digest", "NULL", OWN))]
    verdicts = results(database, again, setup=f"{without_bytes()}; {add_bytes()}")
    assert verdicts == dict.fromkeys(again, "artifact_immutable")


def test_a_pointer_names_the_newest_activation_of_its_own_pipeline(database: Connection) -> None:
    unguarded(
        database,
        f"""INSERT INTO releases_activation (pipeline_id, sequence, release_id, previous_id, kind, actor, reason)
        SELECT pipeline_id, 2, release_id, release_id, 'activation', '', '' FROM releases_activation
        WHERE pipeline_id = {pipeline()}""",
    )
    earlier = f"(SELECT min(id) FROM releases_activation WHERE pipeline_id = {pipeline()})"
    unguarded(
        database,
        "UPDATE releases_pipeline SET activation_id = (SELECT max(id) FROM releases_activation) "
        f"WHERE id = {pipeline()}",
    )
    other = "(SELECT activation_id FROM releases_pipeline WHERE pipeline_id = 'org.example.other')"
    change = f"UPDATE releases_pipeline SET activation_id = {{}} WHERE id = {pipeline()}"
    statements = [change.format(value) for value in (earlier, other, "NULL", "0")]
    assert results(database, statements) == dict.fromkeys(statements, "pipeline_newest_activation")


def test_the_sequence_of_activations_is_kept_even_without_its_trigger(database: Connection) -> None:
    database.execute("ALTER TABLE releases_activation DISABLE TRIGGER activation_guard")
    insert = f"""INSERT INTO releases_activation (pipeline_id, sequence, release_id, previous_id, kind, actor, reason)
        SELECT {pipeline()}, {{}}, {ACTIVE}, {ACTIVE}, 'activation', '', ''"""
    assert refusal(database, insert.format(1)) == "activation_sequence_once"
    assert refusal(database, insert.format(0)) == "activation_sequence_from_one"
    assert refusal(database, insert.format(2)) == "activation_moves_pointer"


def test_a_release_ends_with_its_record_unless_it_is_active_or_has_open_executions(database: Connection) -> None:
    both = "UPDATE releases_release SET status = 'RETIRED' WHERE id = {0}; " + RECORDS["RETIRED"].replace("{}", "{0}")
    expected = {
        status_of("0.5", "REVOKED"): "release_revoked_with_reason",
        status_of("0.5", "RETIRED"): "release_retired_with_reason",
        release_move("REGISTERED", "RETIRED"): "",
        both.format(ACTIVE): "release_retired_without_executions",
        both.format(IN_OTHER_PIPELINE): "release_retired_is_not_active",
    }
    assert results(database, expected) == expected


def test_the_progress_of_an_order_only_grows_until_it_is_complete(database: Connection) -> None:
    change = f"UPDATE releases_revocation SET {{}} WHERE release_id = {release('0.6')}"
    more, complete = (
        change.format("failed_executions = 3"),
        change.format("failed_executions = 3, completed_at = now()"),
    )
    expected = {more: "", complete: ""}
    expected |= {change.format(f"completed_at = {wrong}"): "revocation_guard" for wrong in (PAST, SOON)}
    assert results(database, expected) == expected
    less = change.format("failed_executions = 2")
    assert results(database, [less], setup=more) == {less: "revocation_guard"}
    after = [change.format(x) for x in ("failed_executions = 4", "completed_at = NULL", "completed_at = now()")]
    assert results(database, after, setup=complete) == dict.fromkeys(after, "revocation_guard")


def test_an_upload_is_cleared_once_and_a_token_never_ends_later(database: Connection) -> None:
    clear = "UPDATE releases_artifactupload SET cleared = {} WHERE status IN ('STORED', 'REJECTED', 'EXPIRED')"
    token = "UPDATE tenancy_apitoken SET expiry = expiry {} interval '1 microsecond'"
    expected = {clear.format("true"): "", token.format("-"): "", token.format("+"): "token_ends_earlier"}
    expected["UPDATE tenancy_apitoken SET expiry = expiry"] = ""
    assert results(database, expected) == expected
    back = clear.format("false")
    assert results(database, [back], setup=clear.format("true")) == {back: "upload_finished"}
