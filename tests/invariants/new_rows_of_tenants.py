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
    NewRow(
        "tenancy_savedview",
        f"owner_id = {EVA} & page = 'executions' & name = 'new'",
        f"saved_view_starts: created_at = {OTHER_TIMES}",
    ),
    NewRow(
        "tenancy_invitation",
        f"""email = 'new@example.com' & roles = ARRAY['viewer'] & inviter_id = {EVA} & invited_by = 'user:eva'
            & expires_at = now() + interval '7 days' & state = 'OPEN' & mail = 'PENDING'""",
        f"""
            invitation_starts: created_at = {OTHER_TIMES}
            expires_at = now() | now() + interval '31 days'
            invitation_roles_known: roles = ARRAY['king'] | ARRAY[]::varchar[]
            invitation_email_form: email = 'Upper@example.com' | 'x'
        """,
    ),
    NewRow(
        "tenancy_auditentry",
        f"tenant_id = {tenant('owner')} & act = 'thing.change' & outcome = 'granted' & details = '{{}}'",
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
        """,
    ),
    NewRow("alerts_alertevent", f"alert_id = {alert('FIRING')} & kind = 'FIRED'", "alert_id: alert_id = NULL"),
    NewRow(
        "alerts_alertdelivery",
        f"channel_id = {channel('owner')} & alert_id = {alert('FIRING')} & kind = 'FIRING'",
        f"""
            alert_delivery_own_tenant: tenant_id = {tenant("rival")} | 0
            channel_id = {channel("rival")}
            alert_id = {alert("FIRING", "rival")} | gen_random_uuid()
        """,
    ),
]
