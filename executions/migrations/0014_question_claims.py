"""Interactions can be claimed and delegated. Answers have a note, and say how they came."""

from typing import Any

from django.contrib.postgres.functions import TransactionNow
from django.db import migrations, models
from django.db.models import F, Q
from django.db.models.deletion import PROTECT

CHANNELS = [
    ("page", "the page"),
    ("api", "the API"),
    ("resume-token", "a resume token, as the receiver of a webhook has it"),
]
KINDS = [
    ("CLAIMED", "Claimed"),
    ("RENEWED", "Renewed"),
    ("TAKEN_OVER", "Taken Over"),
    ("RELEASED", "Released"),
    ("DELEGATED", "Delegated"),
]
CHECKS = {
    "interaction_note_of_answer": Q(status="COMPLETED") | Q(note__isnull=True, channel__isnull=True),
    "interaction_note_says_something": Q(note__isnull=True) | ~Q(note__regex=r"^\s*$"),
    "interaction_channel_known": Q(channel__isnull=True) | Q(channel__in=["page", "api", "resume-token"]),
    "interaction_claim_complete": Q(claimed_by__isnull=True, claimed_until__isnull=True)
    | Q(claimed_by__isnull=False, claimed_until__isnull=False),
}
EVENT_CHECKS = {
    "interaction_event_kind": Q(kind__in=["CLAIMED", "RENEWED", "TAKEN_OVER"], claimed_by=F("actor"))
    | Q(kind="RELEASED", claimed_by__isnull=True)
    | Q(kind="DELEGATED", claimed_by__isnull=True, delegate__isnull=False),
    "interaction_event_note_says_something": Q(note__isnull=True) | ~Q(note__regex=r"^\s*$"),
}


def _key(to: str, *, db_index: bool = False, related_name: str = "interaction_events") -> models.ForeignKey[Any, Any]:
    return models.ForeignKey(db_index=db_index, on_delete=PROTECT, related_name=related_name, to=to)


# An interaction and its event change in one statement, after which both triggers compare them. New interactions are
# unclaimed and events have the current time: the application role may not insert those columns.
FORWARD = """
CREATE FUNCTION guard_claim() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NEW.claim_changes <> OLD.claim_changes + 1 OR NOT EXISTS (
        SELECT FROM executions_interactionevent v
        WHERE v.interaction_id = NEW.id AND v.sequence = NEW.claim_changes
            AND (v.claimed_by, v.claimed_until, v.delegate)
                IS NOT DISTINCT FROM (NEW.claimed_by, NEW.claimed_until, NEW.delegate))
    THEN
        RAISE EXCEPTION 'interaction %: a claim changes with its event, in one statement', NEW.id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER interaction_claim_has_event
    AFTER UPDATE OF claimed_by, claimed_until, delegate, claim_changes ON executions_interaction
    FOR EACH ROW WHEN ((NEW.claimed_by, NEW.claimed_until, NEW.delegate, NEW.claim_changes)
        IS DISTINCT FROM (OLD.claimed_by, OLD.claimed_until, OLD.delegate, OLD.claim_changes))
    EXECUTE FUNCTION guard_claim();

CREATE FUNCTION guard_interaction_event() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM executions_interaction i
        WHERE i.id = NEW.interaction_id AND i.execution_id = NEW.execution_id AND i.tenant_id = NEW.tenant_id
            AND i.status IN ('WAITING', 'DISPATCHING', 'DISPATCHED') AND i.claim_changes = NEW.sequence
            AND (i.claimed_by, i.claimed_until, i.delegate)
                IS NOT DISTINCT FROM (NEW.claimed_by, NEW.claimed_until, NEW.delegate))
        OR NEW.claimed_until NOT BETWEEN now() AND clock_timestamp() + interval '30 minutes'
    THEN
        RAISE EXCEPTION 'interaction %: an event tells a change of its claim, which lasts half an hour', NEW.interaction_id
            USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER interaction_event_of_claim AFTER INSERT ON executions_interactionevent
    FOR EACH ROW EXECUTE FUNCTION guard_interaction_event();
CREATE TRIGGER interaction_event_append_only BEFORE UPDATE OR DELETE ON executions_interactionevent
    FOR EACH ROW EXECUTE FUNCTION guard_history();
CREATE TRIGGER interaction_event_not_truncated BEFORE TRUNCATE ON executions_interactionevent
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
BACKWARD = """
DROP FUNCTION guard_claim, guard_interaction_event CASCADE;
DROP TRIGGER interaction_event_append_only ON executions_interactionevent;
DROP TRIGGER interaction_event_not_truncated ON executions_interactionevent;
"""


class Migration(migrations.Migration):
    dependencies = (("executions", "0013_campaign_results"),)
    operations = (
        migrations.AddField("interaction", "note", models.CharField(max_length=2000, null=True)),
        migrations.AddField("interaction", "channel", models.CharField(choices=CHANNELS, max_length=12, null=True)),
        migrations.AddField("interaction", "claimed_by", models.CharField(max_length=200, null=True)),
        migrations.AddField("interaction", "claimed_until", models.DateTimeField(null=True)),
        migrations.AddField("interaction", "delegate", models.CharField(max_length=200, null=True)),
        migrations.AddField("interaction", "claim_changes", models.IntegerField(db_default=0, default=0)),
        *(
            migrations.AddConstraint("interaction", models.CheckConstraint(condition=condition, name=name))
            for name, condition in CHECKS.items()
        ),
        migrations.CreateModel(
            name="InteractionEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sequence", models.IntegerField()),
                ("kind", models.CharField(choices=KINDS, max_length=10)),
                ("actor", models.CharField(max_length=200)),
                ("note", models.CharField(max_length=2000, null=True)),
                ("claimed_by", models.CharField(max_length=200, null=True)),
                ("claimed_until", models.DateTimeField(null=True)),
                ("delegate", models.CharField(max_length=200, null=True)),
                ("at", models.DateTimeField(db_default=TransactionNow(), editable=False)),
                ("execution", _key("executions.execution", db_index=True)),
                ("interaction", _key("executions.interaction", related_name="events")),
                ("tenant", _key("tenancy.tenant")),
            ],
            options={
                "ordering": ("interaction", "sequence"),
                "constraints": [
                    models.UniqueConstraint(fields=("interaction", "sequence"), name="interaction_event_once"),
                    *(
                        models.CheckConstraint(condition=condition, name=name)
                        for name, condition in EVENT_CHECKS.items()
                    ),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
