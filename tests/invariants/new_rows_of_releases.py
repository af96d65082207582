"""Valid new rows of tenants and releases, and every wrong value of each."""

from tests.invariants.new_rows import Change, NewRow, blanks, digest, each, pipeline, release, tenant, times

OTHER_PIPELINE = "org.example.other"
ACTIVE = release("1.0")
NOT_REGISTERED = ("0.1", "0.2", "0.3", "0.4", "0.7")
OWN = f"(SELECT digest FROM releases_artifact WHERE release_id = {release('0.5')} AND position = 0)"
"""The digest of a file that the tenant has uploaded."""
FOREIGN = digest("foreign")
NEW_RELEASE = {
    "pipeline_id": pipeline(),
    "contract_version": "'9'",
    "release_version": "'9'",
    "descriptor": f"""jsonb_build_object('artifacts', jsonb_build_array(
        jsonb_build_object('artifactId', 'a', 'digest', {OWN}),
        jsonb_build_object('artifactId', 'b', 'digest', {FOREIGN})))""",
    "descriptor_document": "'x'::bytea",
    "descriptor_digest": digest("x"),
    "status": "'UPLOADED'",
    "findings": "'[]'",
    "contract_document": "NULL",
    "contract_id": "NULL",
    "primary_artifact_id": "''",
    "environments": "'{}'",
    "checkpoints": "false",
    "progress": "'{}'",
    "uploaded_by": "''",
    "created_at": "now()",
    "status_changed_at": "now()",
}


REVOKED = f"UPDATE releases_release SET status = 'REVOKED' WHERE id = {release('0.5')}"


def hold(column: str, target: str) -> str:
    """Return a statement that pauses a release or a pipeline."""
    return f"""INSERT INTO executions_hold (tenant_id, {column}, reason, refuses_submissions, started_by)
        VALUES ({tenant("owner")}, {target}, 'x', false, '')"""


def uploaded(**changes: str) -> str:
    """Return a statement that inserts a release. By default it is UPLOADED and its versions are "9"."""
    values = NEW_RELEASE | changes
    return f"INSERT INTO releases_release ({', '.join(values)}) SELECT {', '.join(values.values())}"


def document_of(size: int) -> Change:
    """Return a descriptor document of `size` bytes, with its digest."""
    document = f"convert_to(repeat(' ', {size}), 'UTF8')"
    return {"descriptor_document": document, "descriptor_digest": f"'sha256:' || encode(sha256({document}), 'hex')"}


def status_of(version: str, status: str) -> str:
    return f"UPDATE releases_release SET status = '{status}' WHERE id = {release(version)}"


DOCUMENTS = [
    NewRow(
        "releases_pipeline",
        {
            "tenant_id": tenant("other"),
            "pipeline_id": "'org.example.orders'",
            "application": "''",
            "activation_id": "NULL",
            "created_at": "now()",
            "reason_required": "false",
            "signature_policy": "'off'",
            "worker_gate": "'require'",
            "validate_answers": "true",
            "unverified_workers": "'refuse'",
            "missing_artifacts": "'reject'",
            "rollback_days": "30",
            "smoke_test_hours": "NULL",
            "skew_grace_minutes": "0",
            "retry_limit": "NULL",
            "retry_delay_seconds": "NULL",
            "retry_multiplier": "NULL",
            "approvals": "0",
            "approval_hours": "72",
            "emergency_override": "false",
        },
        {
            "pipeline_starts": times("created_at"),
            "pipeline_newest_activation": each("activation_id", "(SELECT max(id) FROM releases_activation)", "0"),
            "pipeline_once": each("tenant_id", tenant("owner"), tenant("rival")),
            "pipeline_id_not_blank": blanks("pipeline_id"),
            "pipeline_signature_policy_known": each("signature_policy", "'perhaps'", "''"),
            "pipeline_worker_gate_known": each("worker_gate", "'perhaps'", "''"),
            "pipeline_unverified_workers_known": each("unverified_workers", "'perhaps'", "''"),
            "pipeline_missing_artifacts_known": each("missing_artifacts", "'perhaps'", "''"),
            "pipeline_rollback_days": each("rollback_days", "0", "3651"),
            "pipeline_approvals": each("approvals", "11", "-1"),
            "pipeline_approval_hours": each("approval_hours", "0", "721"),
            "pipeline_smoke_test_hours": each("smoke_test_hours", "0", "8761"),
            "pipeline_skew_grace_minutes": each("skew_grace_minutes", "43201"),
            "pipeline_retries_sane": [*each("retry_delay_seconds", "-0.1"), *each("retry_multiplier", "0.9")],
            "releases_pipeline_retry_limit_check": each("retry_limit", "-1"),
        },
        [
            *each("signature_policy", "'off'", "'warn'", "'require'"),
            *each("worker_gate", "'warn'", "'off'"),
            *each("unverified_workers", "'allow'"),
            *each("missing_artifacts", "'identity-only'"),
            *each("smoke_test_hours", "1", "8760"),
            *each("skew_grace_minutes", "1", "43200"),
            *each("retry_delay_seconds", "0", "0.5"),
            *each("retry_multiplier", "1", "1.5"),
            *each("retry_limit", "0"),
            *each("approvals", "1", "10"),
            *each("approval_hours", "1", "720"),
        ],
        free="application reason_required validate_answers emergency_override",
    ),
    NewRow(
        "releases_release",
        NEW_RELEASE,
        {
            "release_starts": [
                *times("created_at", "status_changed_at"),
                *each("status", "'VERIFYING'", "'REGISTERED'", "'REJECTED'", "'REVOKED'"),
                *each("contract_id", "(SELECT min(id) FROM releases_contract)"),
                *each("primary_artifact_id", "'app'"),
                *each("environments", "'{\"a\": 1}'"),
                *each("checkpoints", "true"),
                *each("progress", "'{\"0\": {}}'"),
            ],
            "release_descriptor_digest_of_document": [
                *each("descriptor_digest", digest("y"), f"upper({digest('x')})", "''"),
                *each("descriptor_document", "'y'::bytea"),
            ],
            "release_descriptor_not_too_large": [document_of(1048577)],
            "release_once": each("release_version", "'0.1'", "'0.2'", "'0.3'", "'0.5'", "'1.0'"),
            "release_status_known": each("status", "'READY'"),
        },
        [
            *each("release_version", "'0.4'"),
            {"pipeline_id": pipeline("owner", OTHER_PIPELINE), "release_version": "'0.5'"},
            document_of(1048576),
        ],
        free="pipeline_id contract_version descriptor findings contract_document uploaded_by",
    ),
    NewRow(
        "releases_contract",
        {"pipeline_id": pipeline(), "contract_version": "'9'", "document": "'{}'", "created_at": "now()"},
        {
            "contract_starts": times("created_at"),
            "contract_of_verification": [
                *each("contract_version", "'8'"),
                *each("pipeline_id", pipeline("owner", OTHER_PIPELINE), pipeline("rival")),
                *each(
                    "setup", *(status_of("9", status) for status in ("UPLOADED", "REGISTERED", "REJECTED", "REVOKED"))
                ),
            ],
            "contract_once": each(
                "contract_version", f"(SELECT contract_version FROM releases_release WHERE id = {ACTIVE})"
            ),
        },
        free="document",
        setup=uploaded(status="'VERIFYING'"),
    ),
]

NEW_PIPELINE = f"""INSERT INTO releases_pipeline
    (tenant_id, pipeline_id, application, reason_required, signature_policy, worker_gate, validate_answers,
        unverified_workers, missing_artifacts, rollback_days, skew_grace_minutes)
    SELECT {tenant("other")}, 'org.example.orders', '', false, 'off', 'require', true, 'refuse', 'reject', 30,
        0"""
FIRST_ACTIVATION = NewRow(
    "releases_activation",
    {
        "pipeline_id": pipeline("other"),
        "sequence": "1",
        "release_id": release("9", "other"),
        "previous_id": "NULL::bigint",
        "kind": "'activation'",
        "actor": "''",
        "reason": "''",
    },
    {
        "activation_in_sequence": [
            *each("sequence", "0", "2", "-1"),
            *each("previous_id", release("9", "other"), ACTIVE, "0"),
        ],
        "activation_kind_of_history": [{"kind": "'rollback'", "reason": "'why'"}],
        "activation_moves_pointer": each("script", "{insert}"),
    },
    free="pipeline_id release_id actor reason",
    setup="; ".join((NEW_PIPELINE, uploaded(pipeline_id=pipeline("other"), status="'REGISTERED'"))),
    script=f"""{{insert}}; UPDATE releases_pipeline p SET activation_id = (SELECT max(id) FROM releases_activation)
        WHERE id = {pipeline("other")}""",
)

RETURNS = {
    "sequence": "3",
    "setup": f"""UPDATE releases_activation SET release_id = {release("0.5")} WHERE pipeline_id = {pipeline()};
        INSERT INTO releases_activation
            (pipeline_id, sequence, release_id, previous_id, kind, actor, reason, activated_at)
        SELECT {pipeline()}, 2, {ACTIVE}, {release("0.5")}, 'activation', '', '', now()""",
}
"""Makes the new activation, of 0.5, a return: 0.5 was active before the active release."""
HISTORY = [
    NewRow(
        "releases_activation",
        {
            "pipeline_id": pipeline(),
            "sequence": "2",
            "release_id": release("0.5"),
            "previous_id": ACTIVE,
            "kind": "'activation'",
            "candidate_id": "NULL",
            "share": "NULL",
            "gradual_id": "NULL",
            "actor": "''",
            "reason": "''",
            "operation_key": "'new'",
            "override": "false",
            "request_id": "NULL",
            "activated_at": "now()",
        },
        {
            "activation_kind_of_history": [
                {"kind": "'rollback'", "reason": "'why'"},
                {"kind": "'rollback'", "reason": "'why'", "release_id": ACTIVE},
                RETURNS,
            ],
            "activation_kind_known": each("kind", "'redo'", "''"),
            "activation_rollback_says_why": [
                {"kind": "'rollback'", **change, **RETURNS} for change in blanks("reason")
            ],
            "activation_own_release": [
                *each("release_id", *(release(version) for version in NOT_REGISTERED)),
                *each("release_id", release("1.0", "owner", OTHER_PIPELINE), release("1.0", "rival"), "0"),
                *each("pipeline_id", pipeline("rival")),
            ],
            "activation_in_sequence": [
                *each("sequence", "0", "1", "3", "-1"),
                *each("previous_id", "NULL", release("0.5"), release("0.1"), release("1.0", "owner", OTHER_PIPELINE)),
            ],
            "activation_operation_once": [
                {"setup": f"UPDATE releases_activation SET operation_key = 'new' WHERE pipeline_id = {pipeline()}"}
            ],
        },
        [
            *each("operation_key", "NULL"),
            *each("release_id", ACTIVE),
            {"kind": "'rollback'", "reason": "'why'", **RETURNS},
            {"setup": f"UPDATE releases_activation SET operation_key = 'new' WHERE pipeline_id = {pipeline('rival')}"},
        ],
        free="operation_key actor activated_at",
        script=f"""{{insert}}; UPDATE releases_pipeline p SET activation_id = (SELECT max(id) FROM releases_activation)
            WHERE id = {pipeline()}""",
    ),
    NewRow(
        "releases_revocation",
        {
            "release_id": release("0.5"),
            "actor": "''",
            "reason": "'why'",
            "revoked_at": "now()",
            "open_executions": "'leave'",
            "failed_executions": "0",
            "completed_at": "NULL",
        },
        {
            "revocation_starts": [
                *times("revoked_at"),
                {"open_executions": "'fail'", "failed_executions": "1"},
                {"open_executions": "'fail'", "completed_at": "now()"},
            ],
            "revocation_order_known": each("open_executions", "'x'", "''", "'FAIL'"),
            "revocation_progress_of_order": [*each("failed_executions", "1"), *each("completed_at", "now()")],
            "releases_revocation_failed_executions_check": [
                {"open_executions": "'fail'", "failed_executions": "-1"},
            ],
            "revocation_of_revoked": each("release_id", release("0.2"), release("0.3"), release("0.4"), ACTIVE),
            "releases_revocation_release_id_key": each("release_id", release("0.1")),
            "revocation_says_why": blanks("reason"),
            "revocation_pauses_release": [
                *each("open_executions", "'pause'"),
                {"open_executions": "'pause'", "script": f"{REVOKED}; {{insert}}; {hold('pipeline_id', pipeline())}"},
            ],
        },
        [
            *each("open_executions", "'fail'"),
            {"open_executions": "'pause'", "script": f"{REVOKED}; {{insert}}; {hold('release_id', release('0.5'))}"},
        ],
        free="actor",
        script=f"{REVOKED}; {{insert}}",
    ),
    NewRow(
        "releases_attachment",
        {
            "release_id": release("0.5"),
            "position": "1",
            "kind": "'sbom'",
            "digest": digest("x"),
            "content": "'x'::bytea",
            "summary": "'{}'",
            "findings": "'[]'",
            "attached_by": "''",
            "attached_at": "now()",
        },
        {
            "attachment_starts": times("attached_at"),
            "attachment_of_usable_release": [
                {"release_id": release("0.4"), "position": "0"},
                {"release_id": release("0.1"), "position": "0"},
                {"release_id": release("0.7"), "position": "0"},
            ],
            "attachment_in_sequence": [*each("position", "2", "31"), {"release_id": ACTIVE}],
            "attachment_position_once": each("position", "0"),
            "attachment_not_too_many": each("position", "32"),
            "releases_attachment_position_check": each("position", "-1"),
            "attachment_kind_known": each("kind", "'seal'", "''"),
            "attachment_digest_of_content": [*each("digest", digest("y")), *each("content", "'y'::bytea")],
            "attachment_not_too_large": [
                {
                    "content": "convert_to(repeat(' ', 8388609), 'UTF8')",
                    "digest": "'sha256:' || encode(sha256(convert_to(repeat(' ', 8388609), 'UTF8')), 'hex')",
                }
            ],
            "attachment_once": [
                {
                    "setup": (
                        "UPDATE releases_attachment SET content = 'x', digest = "
                        + digest("x")
                        + f" WHERE release_id = {release('0.5')}"
                    )
                }
            ],
        },
        [
            *({"release_id": release(version), "position": "0"} for version in ("0.2", "0.3", "1.0")),
            *each("kind", "'signature'", "'provenance'", "'sbom'"),
            {
                "content": "convert_to(repeat(' ', 8388608), 'UTF8')",
                "digest": "'sha256:' || encode(sha256(convert_to(repeat(' ', 8388608), 'UTF8')), 'hex')",
            },
        ],
        free="summary findings attached_by",
    ),
    NewRow(
        "releases_trustedkey",
        {
            "tenant_id": tenant("owner"),
            "name": "'newer'",
            "key_id": "repeat('0', 64)",
            "public_key": "''",
            "added_by": "''",
            "added_at": "now()",
        },
        {
            "trusted_key_starts": times("added_at"),
            "trusted_key_name_once": each("name", "'new'", "'old'"),
            "trusted_key_once": each("key_id", "(SELECT key_id FROM releases_trustedkey WHERE name = 'old')"),
            "trusted_key_id_well_formed": each("key_id", "repeat('0', 63)", "repeat('A', 64)", "repeat('g', 64)"),
            "trusted_key_name_not_blank": blanks("name"),
        },
        [
            {"tenant_id": tenant("other"), "name": "'new'"},
            {"tenant_id": tenant("other"), "key_id": "(SELECT key_id FROM releases_trustedkey WHERE name = 'old')"},
        ],
        free="tenant_id public_key added_by",
    ),
    NewRow(
        "releases_keyrevocation",
        {
            "key_id": "(SELECT id FROM releases_trustedkey WHERE name = 'new')",
            "actor": "''",
            "reason": "'why'",
            "revoked_at": "now()",
        },
        {
            "key_revocation_starts": times("revoked_at"),
            "releases_keyrevocation_key_id_key": each(
                "key_id", "(SELECT id FROM releases_trustedkey WHERE name = 'old')"
            ),
            "key_revocation_says_why": blanks("reason"),
        },
        free="actor",
    ),
    FIRST_ACTIVATION,
]
