"""Invitations are removed 90 days after their end. Replaces a function, which locks no table."""

from django.db import migrations

GUARD = """
CREATE OR REPLACE FUNCTION refuse_removal_of_invitation() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF coalesce(OLD.ended_at, OLD.expires_at) < now() - interval '90 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'invitations are removed 90 days after their end'
        USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0011_invitations_of_tenants"),)
    operations = (migrations.RunSQL(GUARD),)
