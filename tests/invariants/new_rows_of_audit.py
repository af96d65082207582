"""Valid new rows of the audit log, and every wrong value of each."""

from tests.invariants.new_rows import NewRow, each, tenant

AUDIT = [
    NewRow(
        "tenancy_auditentry",
        {
            "tenant_id": tenant("owner"),
            "actor": "'user:eva'",
            "act": "'thing.change'",
            "object_type": "'thing'",
            "object": "'one'",
            "outcome": "'granted'",
            "reason": "''",
            "request_id": "''",
            "address": "''",
            "details": "'{}'",
        },
        {
            "audit_outcome_known": each("outcome", "'allowed'", "''"),
            "audit_act_form": each("act", "''", "'Thing.change'", "'thing.'", "'thing change'"),
            "audit_details_form": each("details", "''", "'[]'", "'{'"),
        },
        [*each("tenant_id", "NULL"), *each("outcome", "'denied'", "'failed'"), *each("act", "'thing'", "'a_b.c.d'")],
        free="tenant_id actor object_type object reason request_id address",
    ),
    NewRow(
        "tenancy_audithead",
        {"tenant_id": tenant("other"), "sequence": "1", "hash": "''"},
        {"audit_head_once": each("tenant_id", tenant("owner")), "audit_head_from_one": each("sequence", "0", "-1")},
        free="hash",
        ordinary=False,
    ),
]
