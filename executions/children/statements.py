"""The SQL statements of child executions: what each does, and what it means if it affects or returns no row."""

# Returns how many executions are above one. One row always.
ANCESTORS = "SELECT ancestors(%s)"

# Claims the executions whose relatives have been due for longest, for the time that handing over may take, and skips
# locked ones. If the process dies, they are due again. No row: none is due.
CLAIM = """
UPDATE executions_execution SET family_due_at = now() + make_interval(secs => %(lease)s)
WHERE id = ANY(ARRAY(SELECT id FROM executions_execution WHERE family_due_at <= now()
    ORDER BY family_due_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING id, family_due_at
"""

# Ends a claim: the relatives know. No row: the execution has ended again, is re-driven, or another process claimed it.
DONE = """
UPDATE executions_execution SET family_due_at = NULL WHERE id = %(id)s AND family_due_at = %(claimed)s
"""

# Returns the children of an execution that have not ended, in the order of their ids. No row: it has none.
OPEN_CHILDREN = """
SELECT id FROM executions_execution WHERE parent_id = %s AND finished_at IS NULL ORDER BY id
"""

# Fails the question of a call, which the caller has locked. No row: it is closed.
FAIL = """
UPDATE executions_interaction SET status = 'FAILED', version = version + 1, last_dispatch_error = %(error)s,
    next_dispatch_at = NULL, updated_at = now()
WHERE id = %(id)s AND status IN ('WAITING', 'DISPATCHING', 'DISPATCHED')
"""
