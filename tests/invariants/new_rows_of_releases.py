from tests.invariants.new_rows import OTHER_TIMES, PAST, NewRow, digest, either, one_line, pipeline, release, tenant
from wire.documents.descriptor import ArtifactKind

OTHER_PIPELINE = "org.example.other"
ACTIVE = release("1.0")
IN_OTHER_PIPELINE = release("1.0", "owner", OTHER_PIPELINE)
NOT_REGISTERED = either(release(version) for version in ("0.1", "0.2", "0.3", "0.4", "0.7"))
OWN = f"(SELECT digest FROM releases_artifact WHERE release_id = {release('0.5')} AND position = 0)"
"""The digest of a file that the tenant has uploaded."""
FOREIGN = digest("foreign")
BAD_DIGESTS = "'sha256:' || repeat('0', 63) | 'sha256:' || repeat('A', 64) | 'sha512:' || repeat('0', 64) | 'x'"
FOREIGN_FILE = f"position = 1 & artifact_id = 'b' & digest = {FOREIGN} & blob_id = {FOREIGN}"
WITHOUT_BYTES = "'container-image' | 'lambda-image' | 'external-endpoint'"


def status_of(version: str, *statuses: str) -> str:
    change = "UPDATE releases_release SET status = '{}' WHERE id = " + release(version)
    return either(change.format(status) for status in statuses)


def paused(kind: str, target: str, *, refuses: bool = True) -> str:
    return one_line(f"""INSERT INTO executions_hold (tenant_id, {kind}_id, reason, refuses_submissions, started_by)
        VALUES ({tenant("owner")}, {target}, 'x', {refuses}, '')""")


def content_of(column: str, size: int) -> str:
    content = f"convert_to(repeat(' ', {size}), 'UTF8')"
    name = "descriptor_digest" if column == "descriptor_document" else "digest"
    return f"{column} = {content} & {name} = 'sha256:' || encode(sha256({content}), 'hex')"


def blob(state: str = "SOUND", checked_at: str = PAST) -> str:
    return one_line(f"""INSERT INTO releases_blob (digest, size, state, fingerprint, created_at, checked_at)
        SELECT {FOREIGN}, 1, '{state}', '', now(), {checked_at}""")


def sent_by(slug: str, status: str = "STORED", content: str = FOREIGN) -> str:
    return one_line(f"""{blob()}; INSERT INTO releases_artifactupload
        (id, tenant_id, digest, size, part_size, storage_id, status, cleared, uploaded_by, expires_at)
        SELECT gen_random_uuid(), {tenant(slug)}, {content}, 1, 1, '', '{status}', false, '', now()""")


def pinned_by(release_id: str) -> str:
    return one_line(f"""{blob()}; INSERT INTO releases_artifact (release_id, position, artifact_id, kind, uri, digest,
        step_ids, capabilities, blob_id, resolved)
        SELECT {release_id}, 9, 'x', 'jar', '', {FOREIGN}, '{{}}', '{{}}', {FOREIGN}, false""")


def blob_in(state: str) -> str:
    return f"(SELECT min(digest) FROM releases_blob WHERE state = '{state}')"


def named(artifact: str, content: str) -> str:
    return f"jsonb_build_object('artifactId', '{artifact}', 'digest', {content})"


def release_8(change: str) -> str:
    """Return an artifact of another release, which is inserted with a change."""
    return f"release_id = {release('8')} & setup = " + RELEASE.statement(f"release_version = '8' & {change}")


PIPELINE = NewRow(
    "releases_pipeline",
    f"""
        tenant_id = {tenant("other")} & pipeline_id = 'org.example.orders' & signature_policy = 'off'
        worker_gate = 'require' & unverified_workers = 'refuse' & missing_artifacts = 'reject' & rollback_days = 30
        approval_hours = 72 & verification_hours = 24 & notify_channel = NULL::text & notify_ends = 'all'
        recipients = 'enforce'
    """,
    f"""
        pipeline_starts: created_at = {OTHER_TIMES}
        pipeline_newest_activation: activation_id = (SELECT max(id) FROM releases_activation) | 0
        pipeline_notify_channel_known: notify_channel = 'owner' | ''
    """,
)
RELEASE = NewRow(
    "releases_release",
    f"""
        pipeline_id = {pipeline()} & contract_version = '9' & release_version = '9'
        descriptor = jsonb_build_object('artifacts', jsonb_build_array({named("a", OWN)}, {named("b", FOREIGN)}))
        descriptor_document = 'x'::bytea & descriptor_digest = {digest("x")} & status = 'UPLOADED' & findings = '[]'
    """,
    f"""
        release_starts: created_at = {OTHER_TIMES}
        status_changed_at = {OTHER_TIMES}
        status = 'VERIFYING' | 'REGISTERED' | 'REJECTED' | 'REVOKED'
        contract_id = (SELECT min(id) FROM releases_contract)
        primary_artifact_id = 'app'
        environments = '{{"a": 1}}'
        checkpoints = true
        declarations = '{{"a": {{}}}}'
        progress = '{{"0": {{}}}}'
        release_descriptor_digest_of_document: descriptor_digest = {digest("y")} | upper({digest("x")}) | ''
        descriptor_document = 'y'::bytea
        release_descriptor_not_too_large: {content_of("descriptor_document", 1048577)}
    """,
)
ARTIFACT = NewRow(
    "releases_artifact",
    f"release_id = {release('9')} & artifact_id = 'a' & kind = 'jar' & digest = {OWN} & blob_id = {OWN}",
    f"""
        artifact_of_upload: position = 1 | 2
        artifact_id = 'b' | 'c'
        digest = {FOREIGN} | 'x' | upper({OWN}) & blob_id = NULL
        release_id = 0
        {release_8("status = 'VERIFYING'")}
        {release_8("status = 'REGISTERED'")}
        {release_8("status = 'REJECTED'")}
        {release_8("status = 'REVOKED'")}
        {release_8(f"created_at = {PAST}")}
        resolved = true
        artifact_bytes_of_tenant: {FOREIGN_FILE} & setup = {blob()}
        {FOREIGN_FILE} & setup = {either(blob(state, "now()") for state in ("DAMAGED", "MISSING", "REMOVED"))}
        {FOREIGN_FILE} & setup = {sent_by("rival")} | {pinned_by(release("1.0", "rival"))}
        {FOREIGN_FILE} & setup = {either(sent_by("owner", s) for s in ("OPEN", "VERIFYING", "REJECTED", "EXPIRED"))}
        {FOREIGN_FILE} & setup = {sent_by("owner", content=digest("another"))}
    """,
    f"""
        blob_id = NULL
        blob_id = NULL & kind = {WITHOUT_BYTES}
        kind = {either(f"'{kind.value}'" for kind in ArtifactKind if kind.is_stored)}
        {FOREIGN_FILE} & blob_id = NULL
        {FOREIGN_FILE} & setup = {blob(checked_at="now()")} | {sent_by("owner")}
        {FOREIGN_FILE} & setup = {pinned_by(release("0.5"))} | {pinned_by(IN_OTHER_PIPELINE)}
    """,
    script=f"{RELEASE.statement()}; {{insert}}",
)
RELEASES = [
    PIPELINE,
    RELEASE,
    ARTIFACT,
    NewRow(
        "releases_contract",
        f"pipeline_id = {pipeline()} & contract_version = '9'",
        f"""
            contract_starts: created_at = {OTHER_TIMES}
            contract_of_verification: contract_version = '8'
            pipeline_id = {pipeline("owner", OTHER_PIPELINE)} | {pipeline("rival")}
            setup = {status_of("9", "UPLOADED", "REGISTERED", "REJECTED", "REVOKED")}
        """,
        setup=RELEASE.statement("status = 'VERIFYING'"),
    ),
    NewRow(
        "releases_blob",
        f"digest = {digest('new')} & size = 1 & state = 'SOUND'",
        f"""
            blob_starts: created_at = {OTHER_TIMES}
            checked_at = {OTHER_TIMES}
            state = 'DAMAGED' | 'MISSING'
            checking_until = now()
        """,
    ),
    NewRow(
        "releases_bloblease", f"resource = {digest('new')}", f"blob_lease_resource_known: resource = {BAD_DIGESTS} | ''"
    ),
    NewRow(
        "releases_artifactupload",
        f"digest = {digest('new')} & size = 1 & part_size = 1 & status = 'OPEN'",
        f"""
            upload_starts: created_at = {OTHER_TIMES}
            status_changed_at = {OTHER_TIMES}
            status = 'VERIFYING' | 'STORED' | 'REJECTED' | 'EXPIRED'
            status = 'REJECTED' & finding = '{{}}'
            storage_id = 'x'
            claimed_at = now()
            cleared = true
        """,
    ),
    NewRow(
        "releases_blobevent",
        f"digest = {blob_in('SOUND')} & kind = 'DAMAGED'",
        f"""
            blob_event_starts: at = {OTHER_TIMES}
            blob_event_of_change: digest = {digest("unknown")}
            digest = {blob_in("SOUND")} & kind = 'HEALED' | 'REMOVED'
            digest = {blob_in("DAMAGED")} & kind = 'DAMAGED' | 'REMOVED'
            digest = {blob_in("MISSING")} & kind = 'MISSING' | 'REMOVED'
        """,
    ),
    NewRow(
        "releases_attachment",
        f"release_id = {release('0.5')} & position = 1 & kind = 'sbom' & digest = {digest('x')} & content = 'x'::bytea",
        f"""
            attachment_starts: attached_at = {OTHER_TIMES}
            attachment_of_usable_release: position = 0
                & release_id = {release("0.4")} | {release("0.1")} | {release("0.7")}
            attachment_in_sequence: position = 2 | 31
            release_id = {ACTIVE}
            attachment_digest_of_content: digest = {digest("y")}
            content = 'y'::bytea
            attachment_not_too_large: {content_of("content", 8388609)}
        """,
    ),
    NewRow(
        "releases_trustedkey",
        "name = 'newer' & key_id = repeat('0', 64)",
        f"trusted_key_starts: added_at = {OTHER_TIMES}",
    ),
    NewRow(
        "releases_keyrevocation",
        "key_id = (SELECT id FROM releases_trustedkey WHERE name = 'new') & reason = 'why'",
        f"key_revocation_starts: revoked_at = {OTHER_TIMES}",
    ),
]
