"""Executions that other executions run as a step of theirs: children, and the messages of their ends (ADR 129).

Both columns are null for all other executions and take no space in them. A trigger notes in the row of an ended child
that its parent must be told, and in the row of a cancelled execution that its children must be cancelled, whichever
statement ends it. No other row is locked for it, so no transaction waits for a relative.
"""

from django.db import migrations, models

CHILDREN = """
-- Returns how many executions are above one: its parent, the parent of that, and so on.
CREATE FUNCTION ancestors(of_execution uuid) RETURNS int LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
    WITH RECURSIVE above (id, depth) AS (
        SELECT e.parent_id, 1 FROM executions_execution e WHERE e.id = of_execution AND e.parent_id IS NOT NULL
        UNION ALL
        SELECT e.parent_id, a.depth + 1 FROM above a JOIN executions_execution e ON e.id = a.id
            WHERE e.parent_id IS NOT NULL AND a.depth < 100
    )
    SELECT coalesce(max(depth), 0) FROM above
$$;

-- The lock makes a cancellation of the parent wait, so that it finds the child.
CREATE FUNCTION guard_child() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM FROM executions_execution p WHERE p.id = NEW.parent_id AND p.tenant_id = NEW.tenant_id
        AND p.status = 'WAITING_EXTERNAL' AND starts_with(NEW.execution_key, 'child:' || p.id || ':') FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'execution %: its parent, which its key names, does not wait', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_parent_waits';
    END IF;
    IF ancestors(NEW.parent_id) >= 16 THEN
        RAISE EXCEPTION 'execution %: 16 executions are above it', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_child_depth';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_child BEFORE INSERT ON executions_execution
    FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION guard_child();
CREATE TRIGGER execution_parent_immutable BEFORE UPDATE OF parent_id ON executions_execution
    FOR EACH ROW WHEN (NEW.parent_id IS DISTINCT FROM OLD.parent_id) EXECUTE FUNCTION refuse_change();

CREATE FUNCTION note_family() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
BEGIN
    NEW.family_due_at := CASE WHEN NEW.finished_at IS NOT NULL AND (NEW.parent_id IS NOT NULL OR EXISTS (
        SELECT FROM executions_execution c WHERE c.parent_id = NEW.id AND c.finished_at IS NULL)) THEN now() END;
    RETURN NEW;
END $$;
CREATE TRIGGER execution_family BEFORE UPDATE OF status ON executions_execution
    FOR EACH ROW WHEN (NEW.status <> OLD.status AND (NEW.parent_id IS NOT NULL OR NEW.status = 'CANCELLED'))
    EXECUTE FUNCTION note_family();
"""
QUIET_TIMES = """
-- A child waits for no quiet time: a newer submission would replace it, and so fail its parent. The trigger fires after
-- `execution_start`.
CREATE FUNCTION start_child() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    NEW.next_due_at := least(NEW.next_due_at, wait_time(now(), NEW.priority));
    RETURN NEW;
END $$;
CREATE TRIGGER execution_start_of_child BEFORE INSERT ON executions_execution
    FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL AND NEW.concurrency_key IS NOT NULL) EXECUTE FUNCTION start_child();

-- As in migration 0033, but for children, which replace nothing and are not replaced.
CREATE OR REPLACE FUNCTION is_replaced(of_execution uuid) RETURNS boolean LANGUAGE sql
SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off AS $$
    SELECT EXISTS (
        SELECT FROM executions_execution e
        JOIN releases_release r ON r.id = e.release_id AND r.declarations -> 'concurrency' ? 'debounceSeconds'
        JOIN executions_execution n ON n.tenant_id = e.tenant_id AND n.pipeline_id = e.pipeline_id
            AND n.concurrency_key = e.concurrency_key AND n.finished_at IS NULL AND n.next_due_at >= '9000-01-01'
        WHERE e.id = of_execution AND e.version = 0 AND NOT starts_with(e.execution_key, 'resubmit:')
            AND n.version = 0 AND NOT starts_with(n.execution_key, 'resubmit:')
            AND e.parent_id IS NULL AND n.parent_id IS NULL
            AND (n.created_at, n.id) > (e.created_at, e.id))
$$;
"""
# As in migration 0021, but for `family_due_at`.
MOVES = """
CREATE OR REPLACE FUNCTION guard_execution() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    noted executions_execution;
BEGIN
    IF NEW.status <> OLD.status AND (OLD.status || '>' || NEW.status) <> ALL (ARRAY[
        'QUEUED>RUNNING', 'QUEUED>FAILED', 'QUEUED>CANCELLED',
        'RUNNING>SUCCEEDED', 'RUNNING>WAITING_EXTERNAL', 'RUNNING>WAIT_RETRY', 'RUNNING>FAILED', 'RUNNING>DLQ',
        'RUNNING>QUEUED', 'RUNNING>CANCELLED',
        'WAIT_RETRY>RUNNING', 'WAIT_RETRY>FAILED', 'WAIT_RETRY>CANCELLED',
        'WAITING_EXTERNAL>QUEUED', 'WAITING_EXTERNAL>FAILED', 'WAITING_EXTERNAL>CANCELLED',
        'FAILED>QUEUED', 'DLQ>QUEUED'])
    THEN
        RAISE EXCEPTION 'execution %: there is no move from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_legal_move';
    END IF;
    IF OLD.finished_at IS NOT NULL AND NEW.status = 'QUEUED' THEN
        PERFORM FROM releases_release r WHERE r.id = NEW.release_id AND r.status <> 'RETIRED' FOR KEY SHARE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'execution %: its release is retired', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_of_retired_release';
        END IF;
    END IF;
    -- Retention counts from the finish, so nobody makes an execution older than it is.
    IF NEW.finished_at IS DISTINCT FROM
        (CASE WHEN NEW.status = OLD.status THEN OLD.finished_at WHEN NEW.finished_at IS NOT NULL THEN now() END)
    THEN
        RAISE EXCEPTION 'execution %: it finishes when it does, once for each end', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_finish_is_now';
    END IF;
    IF NEW.version <> OLD.version + (NEW.status <> OLD.status)::int OR NEW.attempt < OLD.attempt
        OR NEW.event_count < OLD.event_count
    THEN
        RAISE EXCEPTION 'execution %: every move counts its version up by one, and no count goes back', OLD.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_counts_up';
    END IF;
    IF NEW.status = OLD.status AND OLD.status IN ('SUCCEEDED', 'CANCELLED', 'FAILED', 'DLQ') THEN
        noted := OLD;
        noted.event_count := NEW.event_count;
        noted.held := NEW.held;
        noted.family_due_at := CASE WHEN OLD.family_due_at IS NOT NULL THEN NEW.family_due_at END;
        IF NEW IS DISTINCT FROM noted THEN
            RAISE EXCEPTION 'execution %: a terminal execution never changes', OLD.id
                USING ERRCODE = 'restrict_violation', CONSTRAINT = 'execution_terminal_immutable';
        END IF;
    END IF;
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0034_failed_times"),)
    operations = (
        migrations.AddField("execution", "parent_id", models.UUIDField(null=True)),
        migrations.AddField("execution", "family_due_at", models.DateTimeField(null=True)),
        migrations.RunSQL(CHILDREN),
        migrations.RunSQL(QUIET_TIMES),
        migrations.RunSQL(MOVES),
    )
