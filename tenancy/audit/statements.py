"""The SQL of the audit log."""

# A trigger sets the other columns.
APPEND = """
INSERT INTO tenancy_auditentry
    (tenant_id, actor, act, object_type, object, outcome, reason, request_id, address, details)
VALUES (%(tenant)s, %(actor)s, %(act)s, %(object_type)s, %(object)s, %(outcome)s, %(reason)s, %(request_id)s,
    %(address)s, %(details)s)
"""
