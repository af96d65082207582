"""Valid new rows of artifacts, blobs and uploads, and every wrong value of each."""

from tests.invariants.new_rows import PAST, NewRow, digest, each, release, tenant, times
from tests.invariants.new_rows_of_releases import FOREIGN, OTHER_PIPELINE, OWN, uploaded
from wire.documents.descriptor import ArtifactKind

BAD_DIGESTS = ("'sha256:' || repeat('0', 63)", "'sha256:' || repeat('A', 64)", "'sha512:' || repeat('0', 64)", "'x'")


def blob(state: str = "SOUND", checked_at: str = PAST) -> str:
    return f"""INSERT INTO releases_blob (digest, size, state, fingerprint, created_at, checked_at)
        SELECT {FOREIGN}, 1, '{state}', '', now(), {checked_at}"""


def sent_by(slug: str, status: str = "STORED") -> str:
    return f"""INSERT INTO releases_artifactupload
        (id, tenant_id, digest, size, part_size, storage_id, status, cleared, uploaded_by, expires_at)
        SELECT gen_random_uuid(), {tenant(slug)}, {FOREIGN}, 1, 1, '', '{status}', false, '', now()"""


def pinned_by(release_id: str) -> str:
    return f"""INSERT INTO releases_artifact (release_id, position, artifact_id, kind, uri, digest, step_ids,
        capabilities, blob_id, resolved) SELECT {release_id}, 9, 'x', 'jar', '', {FOREIGN}, '{{}}', '{{}}', {FOREIGN},
        false"""


FOREIGN_FILE = {"position": "1", "artifact_id": "'b'", "digest": FOREIGN, "blob_id": FOREIGN}
ARTIFACT = NewRow(
    "releases_artifact",
    {
        "release_id": release("9"),
        "position": "0",
        "artifact_id": "'a'",
        "kind": "'jar'",
        "uri": "''",
        "digest": OWN,
        "step_ids": "'{}'",
        "capabilities": "'{}'",
        "blob_id": OWN,
        "resolved": "false",
    },
    {
        "artifact_of_upload": [
            *each("position", "1", "2"),
            *each("artifact_id", "'b'", "'c'"),
            *({"digest": other, "blob_id": "NULL"} for other in (FOREIGN, "'x'", f"upper({OWN})")),
            *each("release_id", "0"),
            *(
                {"setup": uploaded(release_version="'8'", status=f"'{status}'"), "release_id": release("8")}
                for status in ("VERIFYING", "REGISTERED", "REJECTED", "REVOKED")
            ),
            {"setup": uploaded(release_version="'8'", created_at=PAST), "release_id": release("8")},
            {"resolved": "true"},
        ],
        "artifact_resolved_has_bytes": [{"blob_id": "NULL", "resolved": "true"}],
        "artifact_bytes_of_tenant": [
            {**FOREIGN_FILE, "setup": blob(checked_at=PAST)},
            *(
                {**FOREIGN_FILE, "setup": blob(state, checked_at="now()")}
                for state in ("DAMAGED", "MISSING", "REMOVED")
            ),
            {**FOREIGN_FILE, "setup": f"{blob()}; {sent_by('rival')}"},
            *(
                {**FOREIGN_FILE, "setup": f"{blob()}; {sent_by('owner', status)}"}
                for status in ("OPEN", "VERIFYING", "REJECTED", "EXPIRED")
            ),
            {**FOREIGN_FILE, "setup": f"{blob()}; {pinned_by(release('1.0', 'rival'))}"},
            {**FOREIGN_FILE, "setup": f"{blob()}; {sent_by('owner').replace(FOREIGN, digest('another'))}"},
        ],
        "artifact_blob_is_its_digest": [{"digest": FOREIGN}, {"blob_id": FOREIGN}],
        "artifact_bytes_of_stored_kind": each(
            "kind", "'container-image'", "'lambda-image'", "'external-endpoint'", "''"
        ),
        "artifact_position_once": [{"script": f"{uploaded()}; {{insert}}; {{insert}}"}],
        "releases_artifact_position_check": each("position", "-1"),
    },
    [
        {"blob_id": "NULL"},
        *(
            {"blob_id": "NULL", "kind": f"'{kind}'"}
            for kind in ("container-image", "lambda-image", "external-endpoint")
        ),
        *each("kind", *(f"'{kind.value}'" for kind in ArtifactKind if kind.is_stored)),
        {**FOREIGN_FILE, "blob_id": "NULL"},
        {**FOREIGN_FILE, "setup": blob(checked_at="now()")},
        {**FOREIGN_FILE, "setup": f"{blob()}; {sent_by('owner')}"},
        {**FOREIGN_FILE, "setup": f"{blob()}; {pinned_by(release('0.5'))}"},
        {**FOREIGN_FILE, "setup": f"{blob()}; {pinned_by(release('1.0', 'owner', OTHER_PIPELINE))}"},
    ],
    free="uri step_ids capabilities",
    script=f"{uploaded()}; {{insert}}",
)


ARTIFACTS = [
    ARTIFACT,
    NewRow(
        "releases_blob",
        {
            "digest": digest("new"),
            "size": "1",
            "state": "'SOUND'",
            "fingerprint": "''",
            "created_at": "now()",
            "checked_at": "now()",
            "checking_until": "NULL",
        },
        {
            "blob_starts": [
                *times("created_at", "checked_at"),
                *each("state", "'DAMAGED'", "'MISSING'"),
                *each("checking_until", "now()"),
            ],
            "blob_state_known": each("state", "'FINE'", "''"),
            "blob_digest_well_formed": each("digest", *BAD_DIGESTS, "'sha256:' || repeat('0', 63) || '/'"),
            "blob_size_not_negative": each("size", "-1"),
            "releases_blob_pkey": each("digest", "(SELECT min(digest) FROM releases_blob)"),
        },
        [*each("state", "'REMOVED'"), *each("size", "0")],
        free="fingerprint",
    ),
    NewRow(
        "releases_bloblease",
        {
            "resource": digest("new"),
            "holder": "gen_random_uuid()",
            "exclusive": "false",
            "expires_at": "now()",
        },
        {
            "blob_lease_resource_known": each("resource", *BAD_DIGESTS, "''"),
            "blob_lease_once": [
                {"resource": "'scrub'", "holder": "(SELECT min(holder::text)::uuid FROM releases_bloblease)"}
            ],
        },
        [*each("resource", "'scrub'")],
        free="exclusive expires_at",
    ),
    NewRow(
        "releases_artifactupload",
        {
            "id": "gen_random_uuid()",
            "tenant_id": tenant("owner"),
            "digest": digest("new"),
            "size": "1",
            "part_size": "1",
            "storage_id": "''",
            "status": "'OPEN'",
            "finding": "NULL",
            "cleared": "false",
            "uploaded_by": "''",
            "created_at": "now()",
            "expires_at": "now()",
            "status_changed_at": "now()",
            "claimed_at": "NULL",
        },
        {
            "upload_starts": [
                *times("created_at", "status_changed_at"),
                *each("status", "'VERIFYING'", "'STORED'", "'REJECTED'", "'EXPIRED'"),
                {"status": "'REJECTED'", "finding": "'{}'"},
                *each("storage_id", "'x'"),
                *each("claimed_at", "now()"),
                *each("cleared", "true"),
            ],
            "upload_live_once": each("digest", digest("OPEN"), digest("VERIFYING")),
            "upload_status_known": each("status", "'READY'"),
            "upload_digest_well_formed": each("digest", *BAD_DIGESTS),
            "upload_size_positive": [*each("size", "0"), *each("part_size", "0")],
            "upload_finding_of_rejected": each("finding", "'{}'"),
            "releases_artifactupload_pkey": each("id", "(SELECT id FROM releases_artifactupload LIMIT 1)"),
        },
        [
            *each("digest", digest("VERIFYING STORED"), digest("VERIFYING REJECTED"), digest("EXPIRED")),
            {"digest": digest("OPEN"), "size": "2"},
            {"digest": digest("OPEN"), "tenant_id": tenant("other")},
        ],
        free="tenant_id uploaded_by expires_at",
    ),
    NewRow(
        "releases_blobevent",
        {
            "digest": "(SELECT min(digest) FROM releases_blob WHERE state = 'SOUND')",
            "kind": "'DAMAGED'",
            "data": "'{}'",
            "at": "now()",
        },
        {
            "blob_event_starts": times("at"),
            "blob_event_kind_known": each("kind", "'FINE'", "''"),
            "blob_event_of_change": [
                *each("digest", digest("unknown")),
                *(
                    {"digest": f"(SELECT min(digest) FROM releases_blob WHERE state = '{state}')", "kind": f"'{kind}'"}
                    for state, kind in (
                        ("SOUND", "HEALED"),
                        ("SOUND", "REMOVED"),
                        ("DAMAGED", "DAMAGED"),
                        ("DAMAGED", "REMOVED"),
                        ("MISSING", "MISSING"),
                        ("MISSING", "REMOVED"),
                    )
                ),
            ],
        },
        [
            {"digest": f"(SELECT min(digest) FROM releases_blob WHERE state = '{state}')", "kind": f"'{kind}'"}
            for state, kind in (
                ("SOUND", "MISSING"),
                ("DAMAGED", "HEALED"),
                ("DAMAGED", "MISSING"),
                ("MISSING", "HEALED"),
                ("MISSING", "DAMAGED"),
                ("REMOVED", "REMOVED"),
                ("REMOVED", "HEALED"),
            )
        ],
        free="data",
    ),
]
