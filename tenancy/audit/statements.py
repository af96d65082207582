"""The SQL of the audit log."""

# A trigger sets the other columns.
APPEND = """
INSERT INTO tenancy_auditentry
    (tenant_id, actor, act, object_type, object, outcome, reason, request_id, address, details)
VALUES (%(tenant)s, %(actor)s, %(act)s, %(object_type)s, %(object)s, %(outcome)s, %(reason)s, %(request_id)s,
    %(address)s, %(details)s)
"""

# Makes the deferred checks of the transaction now. Some of them lock rows, and the head of the chain is locked last: a
# check at the commit would come after it, and could deadlock with an act that holds such a row and waits for the head.
CHECK_NOW = "SET CONSTRAINTS ALL IMMEDIATE"

# Restores the initial state: all constraints that can be deferred are deferred initially.
CHECK_LATER = "SET CONSTRAINTS ALL DEFERRED"
