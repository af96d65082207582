"""Valid new rows of tenants, people, the audit log and alerts, and the wrong values of each."""

from tests.invariants.new_rows import OTHER_TIMES, NewRow, pipeline, tenant

EVA = "(SELECT id FROM auth_user WHERE username = 'eva')"


def channel(slug: str) -> str:
    return f"(SELECT id FROM alerts_alertchannel WHERE name = '{slug}')"


def rule(slug: str) -> str:
    return f"(SELECT id FROM alerts_alertrule WHERE name = '{slug}')"


def alert(state: str, slug: str = "owner") -> str:
    return f"(SELECT id FROM alerts_alert WHERE state = '{state}' AND tenant_id = {tenant(slug)} LIMIT 1)"


TENANCY = [
    NewRow("tenancy_tenant", "slug = 'new'", f"tenant_starts: created_at = {OTHER_TIMES}"),
    NewRow("tenancy_allowance", f"tenant_id = {tenant('other')}", right="second = '-infinity'"),
    NewRow("tenancy_grant", "permits = 1"),
    NewRow(
        "tenancy_membership",
        f"user_id = {EVA} & tenant_id = {tenant('other')} & role = 'viewer'",
        right=f"""
            role = 'viewer' | 'operator' | 'on-call' | 'release-manager' | 'tenant-admin'
            tenant_id = {tenant("owner")}
        """,
    ),
    NewRow(
        "tenancy_apitoken",
        f"digest = 'new' & token_key = 'new' & name = 'new' & scopes = ARRAY['read'] & user_id = {EVA}",
    ),
    NewRow("tenancy_logincounter", "key = 'new'"),
    NewRow(
        "tenancy_savedview",
        f"owner_id = {EVA} & page = 'executions' & name = 'new'",
        f"""
            saved_view_starts: created_at = {OTHER_TIMES}
            saved_view_form: name = ''
            query = '?status=live'
        """,
        f"tenant_id = NULL | {tenant('other')} & name = 'shared' & query = 'status=live'",
    ),
    NewRow(
        "tenancy_preferences",
        "user_id = (SELECT id FROM auth_user WHERE username = 'mia') & time_zone = 'UTC'",
        r"preferences_time_zone_form: time_zone = '' | ' ' | 'a b' | E'UTC\n'",
        "time_zone = 'America/Argentina/Buenos_Aires' | 'Etc/GMT+1'",
    ),
    NewRow(
        "tenancy_auditentry",
        f"tenant_id = {tenant('owner')} & act = 'thing.change' & outcome = 'granted' & details = '{{}}'",
        """
            audit_act_form: act = '' | 'Thing.change' | 'thing.' | 'thing change'
            audit_details_form: details = '' | '[]' | '{'
            audit_outcome_known: outcome = 'allowed' | ''
        """,
        """
            tenant_id = NULL
            outcome = 'denied' | 'failed'
            act = 'thing' | 'a_b.c.d'
        """,
    ),
    NewRow(
        "tenancy_audithead",
        f"tenant_id = {tenant('other')} & sequence = 1 & hash = ''",
        "audit_head_from_one: sequence = 0 | -1",
        ordinary=False,
    ),
]
ALERTS = [
    NewRow(
        "alerts_alertchannel",
        "name = 'new' & kind = 'webhook' & address = 'https://receiver.example/' & enabled = true",
        f"""
            alert_channel_starts: created_at = {OTHER_TIMES}
            removed_at = now()
            alert_channel_has_address: address = ''
            kind = 'pigeon' | '' | 'slack'
            kind = 'slack' | 'email' & address = '' & secret = ''
            kind = 'email' & address = 'a@example.com' & secret = 's'
        """,
        """
            kind = 'slack' & address = '' & secret = 's'
            kind = 'email' & address = 'a@example.com'
            secret = 's'
        """,
    ),
    NewRow(
        "alerts_alertrule",
        f"name = 'new' & kind = 'stranded' & pipeline_id = {pipeline()}",
        f"""
            alert_rule_starts: created_at = {OTHER_TIMES}
            removed_at = now()
            alert_rule_thresholds: thresholds = '[]' | '1' | 'null'
            alert_rule_own_pipeline: pipeline_id = {pipeline("rival")} | 0
        """,
        "pipeline_id = NULL",
    ),
    NewRow(
        "alerts_rulechannel",
        f"rule_id = {rule('second')} & channel_id = {channel('owner')}",
        f"""
            rule_channel_one_tenant: rule_id = {rule("rival")} | gen_random_uuid()
            channel_id = {channel("rival")} | gen_random_uuid()
        """,
    ),
    NewRow(
        "alerts_alert",
        f"rule_id = {rule('owner')} & subject = 'new'",
        f"""
            alert_own_tenant: tenant_id = {tenant("rival")} | 0
            rule_id = {rule("rival")}
            alert_one_firing: subject = (SELECT subject FROM alerts_alert WHERE id = {alert("FIRING")})
        """,
        f"rule_id = {rule('second')}",
    ),
    NewRow(
        "alerts_alertevent",
        f"alert_id = {alert('FIRING')} & kind = 'FIRED'",
        "alert_id: alert_id = NULL",
        "kind = 'RESOLVED' | 'SILENCED' | 'UNSILENCED'",
    ),
    NewRow(
        "alerts_alertdelivery",
        f"channel_id = {channel('owner')} & alert_id = {alert('FIRING')} & kind = 'FIRING'",
        f"""
            alert_delivery_own_tenant: tenant_id = {tenant("rival")} | 0
            channel_id = {channel("rival")}
            alert_id = {alert("FIRING", "rival")} | gen_random_uuid()
            alert_delivery_of_alert: kind = 'TEST' | 'OTHER'
            alert_id = NULL
        """,
        """
            alert_id = NULL & kind = 'TEST'
            kind = 'RESOLVED'
        """,
    ),
]
