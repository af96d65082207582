"""Valid new rows of tenants, and every wrong value of each."""

from tests.invariants.new_rows import NewRow, each, tenant, times

QUOTAS = {
    "quota_submissions": "tenant_quota_submissions",
    "quota_open_executions": "tenant_quota_open_executions",
    "quota_payload_bytes": "tenant_quota_payload_bytes",
    "quota_storage_bytes": "tenant_quota_storage_bytes",
    "quota_uploads": "tenant_quota_uploads",
    "quota_workers": "tenant_quota_workers",
}
"""The columns of quotas, each with its constraint."""
TENANCY = [
    NewRow(
        "tenancy_tenant",
        {
            "slug": "'new'",
            "name": "'new'",
            "created_at": "now()",
            "retention_days": "NULL",
            "failed_retention_days": "NULL",
            **dict.fromkeys(QUOTAS, "NULL"),
        },
        {
            "tenant_starts": times("created_at"),
            "tenancy_tenant_slug_key": each("slug", "'owner'"),
            "tenant_retention_days": each("retention_days", "0", "36501"),
            "tenant_failed_retention_days": each("failed_retention_days", "0", "36501"),
            **{name: each(column, "0", "9007199254740992") for column, name in QUOTAS.items()},
        },
        [
            *each("retention_days", "1", "36500"),
            *each("failed_retention_days", "1", "36500"),
            *(change for column in QUOTAS for change in each(column, "1", "9007199254740991")),
        ],
        free="name",
    ),
    NewRow(
        "tenancy_allowance",
        {
            "tenant_id": tenant("other"),
            "second": "now()",
            "granted": "0",
            "settled": "0",
            "counted_at": "now()",
        },
        {
            "allowance_not_negative": [*each("granted", "-1"), *each("settled", "-1")],
            "tenancy_allowance_pkey": each("tenant_id", tenant("owner")),
        },
        [*each("second", "'-infinity'"), *each("granted", "5")],
        free="second counted_at",
    ),
    NewRow(
        "tenancy_grant",
        {"id": "gen_random_uuid()", "tenant_id": tenant("other"), "permits": "1", "expires_at": "now()"},
        {"grant_has_permits": each("permits", "0", "-1")},
        free="id tenant_id expires_at",
    ),
    NewRow(
        "tenancy_membership",
        {
            "user_id": "(SELECT id FROM auth_user WHERE username = 'eva')",
            "tenant_id": tenant("other"),
            "role": "'viewer'",
        },
        {
            "membership_once": [{"tenant_id": tenant("owner"), "role": "'operator'"}],
            "membership_role_known": each("role", "'owner'", "''"),
        },
        [
            *each("role", "'viewer'", "'operator'", "'on-call'", "'release-manager'", "'tenant-admin'"),
            *each("tenant_id", tenant("owner")),
        ],
        free="user_id",
    ),
    NewRow(
        "tenancy_apitoken",
        {
            "digest": "'new'",
            "token_key": "'new'",
            "created": "now()",
            "expiry": "now()",
            "name": "'token'",
            "scopes": "ARRAY['read']",
            "last_used_at": "NULL",
            "user_id": "(SELECT id FROM auth_user WHERE username = 'eva')",
            "tenant_id": tenant("other"),
        },
        {"token_name_once": each("tenant_id", tenant("owner"))},
        free="digest token_key created expiry name scopes last_used_at user_id",
    ),
    NewRow(
        "tenancy_logincounter",
        {"key": "'new'", "attempts": "0", "ends_at": "now()"},
        {"tenancy_logincounter_attempts_check": each("attempts", "-1")},
        free="key ends_at",
    ),
    NewRow(
        "tenancy_savedview",
        {
            "owner_id": "(SELECT id FROM auth_user WHERE username = 'eva')",
            "tenant_id": tenant("owner"),
            "page": "'executions'",
            "name": "'new'",
            "query": "'status=live'",
            "created_at": "now()",
        },
        {
            "saved_view_starts": times("created_at"),
            "saved_view_shared_once": each("name", "'shared'"),
            "saved_view_own_once": [{"tenant_id": "NULL", "name": "'own'"}],
            "saved_view_page": each("page", "'x'", "''"),
            "saved_view_form": [*each("name", "''"), *each("query", "'?status=live'")],
        },
        [
            {"tenant_id": "NULL", "name": "'shared'"},
            {"tenant_id": tenant("other"), "name": "'shared'"},
            *each("query", "''"),
        ],
        free="owner_id",
    ),
    NewRow(
        "tenancy_preferences",
        {"user_id": "(SELECT id FROM auth_user WHERE username = 'mia')", "time_zone": "'UTC'"},
        {
            "preferences_time_zone_form": each("time_zone", "''", "' '", "'a b'", r"E'UTC\n'"),
            "tenancy_preferences_pkey": each("user_id", "(SELECT id FROM auth_user WHERE username = 'eva')"),
        },
        each("time_zone", "'America/Argentina/Buenos_Aires'", "'Etc/GMT+1'"),
    ),
]
