"""A role may be given to a name that no active user has yet. The user gets it when created, activated or renamed."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# 7309 is the class of these locks. A name has one: a role is given either before the user gets the name, and then the
# second function finds the row, or afterwards, and then the first one finds the user. Each statement of a function sees
# what was committed before it began. The second function runs with the owner's rights, because the application may not
# change whose a membership is. Its entries are in the installation's chain, so that no tenant learns of the user.
FORWARD = """
CREATE FUNCTION give_role_to_user() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    v_user auth_user.id%TYPE;
BEGIN
    PERFORM pg_advisory_xact_lock(7309, hashtext(NEW.invited));
    SELECT id INTO v_user FROM auth_user WHERE username = NEW.invited AND is_active;
    IF FOUND THEN
        NEW.user_id := v_user;
        NEW.invited := '';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER membership_by_name BEFORE INSERT ON tenancy_membership
    FOR EACH ROW WHEN (NEW.user_id IS NULL) EXECUTE FUNCTION give_role_to_user();

CREATE FUNCTION give_invited_roles() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7309, hashtext(NEW.username));
    DELETE FROM public.tenancy_membership m USING public.tenancy_membership held
        WHERE m.invited = NEW.username AND m.user_id IS NULL
            AND (held.user_id, held.tenant_id, held.role) = (NEW.id, m.tenant_id, m.role);
    WITH given AS (
        UPDATE public.tenancy_membership SET user_id = NEW.id, invited = ''
            WHERE invited = NEW.username AND user_id IS NULL RETURNING id, tenant_id, role)
    INSERT INTO public.tenancy_auditentry
        (tenant_id, actor, act, object_type, object, outcome, reason, request_id, address, details)
        SELECT NULL, 'coordinator', 'membership.begin', 'membership', NEW.username, 'granted', '', '', '',
            '{"role":' || to_json(given.role) || ',"tenant":' || to_json(t.slug) || '}'
        FROM given JOIN public.tenancy_tenant t ON t.id = given.tenant_id ORDER BY given.id;
    RETURN NULL;
END $$;
CREATE TRIGGER user_gets_invited_roles AFTER INSERT OR UPDATE OF username, is_active ON auth_user
    FOR EACH ROW WHEN (NEW.is_active) EXECUTE FUNCTION give_invited_roles();
"""
BACKWARD = """
DROP FUNCTION give_role_to_user, give_invited_roles CASCADE;
DELETE FROM tenancy_membership WHERE user_id IS NULL;
"""


class Migration(migrations.Migration):
    dependencies = (("tenancy", "0010_quotas"), migrations.swappable_dependency(settings.AUTH_USER_MODEL))
    operations = (
        # Django would drop the foreign key and add it again.
        migrations.RunSQL(
            "ALTER TABLE tenancy_membership ALTER COLUMN user_id DROP NOT NULL",
            "ALTER TABLE tenancy_membership ALTER COLUMN user_id SET NOT NULL",
            state_operations=[
                migrations.AlterField(
                    model_name="membership",
                    name="user",
                    field=models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="memberships",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="membership",
            name="invited",
            field=models.CharField(blank=True, db_default="", default="", max_length=150),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.UniqueConstraint(
                fields=("invited", "tenant", "role"), condition=models.Q(user=None), name="invitation_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="membership",
            constraint=models.CheckConstraint(
                condition=models.Q(user=None) ^ models.Q(invited=""), name="membership_of_user_or_name"
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
