"""The SQL statements of the palette, each bounded by an index."""

# Finds executions whose idempotency key begins with a text. Reads the unique index on tenant, pipeline and key once for
# each pipeline of the tenants. `upper` is after all texts that begin so.
BY_KEY = """
SELECT found.id FROM releases_pipeline p CROSS JOIN LATERAL (
    SELECT e.id, e.created_at FROM executions_execution e
    WHERE e.tenant_id = p.tenant_id AND e.pipeline_id = p.pipeline_id
        AND e.execution_key >= %(prefix)s AND e.execution_key < %(upper)s AND starts_with(e.execution_key, %(prefix)s)
    ORDER BY e.execution_key LIMIT %(most)s
) found
WHERE p.tenant_id = ANY(%(tenants)s) ORDER BY found.created_at DESC, found.id DESC LIMIT %(most)s
"""

# Finds executions whose id is in a range, by the primary key. Ids ascend with time, so a long prefix is a short period.
BY_ID = """
SELECT e.id FROM executions_execution e
WHERE e.id >= %(first)s AND e.id <= %(last)s AND e.tenant_id = ANY(%(tenants)s) ORDER BY e.id LIMIT %(most)s
"""
