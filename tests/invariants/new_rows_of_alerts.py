"""Valid new rows of alerts, and every wrong value of each."""

from tests.invariants.new_rows import NewRow, each, pipeline, tenant, times


def channel(slug: str) -> str:
    return f"(SELECT id FROM alerts_alertchannel WHERE name = '{slug}')"


def rule(slug: str) -> str:
    return f"(SELECT id FROM alerts_alertrule WHERE name = '{slug}')"


def alert(state: str, slug: str = "owner") -> str:
    return f"(SELECT id FROM alerts_alert WHERE state = '{state}' AND tenant_id = {tenant(slug)} LIMIT 1)"


def kind(name: str, address: str, secret: str) -> dict[str, str]:
    return {"kind": f"'{name}'", "address": f"'{address}'", "secret": f"'{secret}'"}


ALERTS = [
    NewRow(
        "alerts_alertchannel",
        {
            "id": "gen_random_uuid()",
            "tenant_id": tenant("owner"),
            "name": "'new'",
            **kind("webhook", "https://receiver.example/", ""),
            "enabled": "true",
            "created_by": "''",
            "created_at": "now()",
            "removed_at": "NULL",
        },
        {
            "alert_channel_starts": [*times("created_at"), *each("removed_at", "now()")],
            "alert_channel_name_once": each("name", "'owner'"),
            "alert_channel_has_address": [
                *each("address", "''"),
                *each("kind", "'pigeon'", "''", "'slack'"),
                kind("slack", "", ""),
                kind("email", "", ""),
                kind("email", "a@example.com", "s"),
            ],
            "alerts_alertchannel_pkey": each("id", channel("owner")),
        },
        [kind("slack", "", "s"), kind("email", "a@example.com", ""), kind("webhook", "https://h", "s")],
        free="tenant_id enabled created_by",
    ),
    NewRow(
        "alerts_alertrule",
        {
            "id": "gen_random_uuid()",
            "tenant_id": tenant("owner"),
            "name": "'new'",
            "kind": "'stranded'",
            "thresholds": "'{}'::jsonb",
            "pipeline_id": pipeline(),
            "enabled": "true",
            "silenced_until": "NULL",
            "created_by": "''",
            "created_at": "now()",
            "removed_at": "NULL",
        },
        {
            "alert_rule_starts": [*times("created_at"), *each("removed_at", "now()")],
            "alert_rule_name_once": each("name", "'owner'"),
            "alert_rule_kind_known": each("kind", "'other'", "''"),
            "alert_rule_thresholds": each("thresholds", "'[]'::jsonb", "'1'::jsonb", "'null'::jsonb"),
            "alert_rule_own_pipeline": each("pipeline_id", pipeline("rival"), "0"),
            "alerts_alertrule_pkey": each("id", rule("owner")),
        },
        each("pipeline_id", "NULL"),
        free="tenant_id enabled silenced_until created_by",
    ),
    NewRow(
        "alerts_rulechannel",
        {"rule_id": rule("second"), "channel_id": channel("owner")},
        {
            "rule_channel_one_tenant": [
                *each("rule_id", rule("rival"), "gen_random_uuid()"),
                *each("channel_id", channel("rival"), "gen_random_uuid()"),
            ],
            "rule_channel_once": each("rule_id", rule("owner")),
        },
    ),
    NewRow(
        "alerts_alert",
        {
            "tenant_id": tenant("owner"),
            "rule_id": rule("owner"),
            "subject": "'new'",
            "title": "''",
            "detail": "''",
            "path": "''",
        },
        {
            "alert_own_tenant": [*each("tenant_id", tenant("rival"), "0"), *each("rule_id", rule("rival"))],
            "alert_one_firing": [{"subject": f"(SELECT subject FROM alerts_alert WHERE id = {alert('FIRING')})"}],
        },
        each("rule_id", rule("second")),
        free="title detail path",
    ),
    NewRow(
        "alerts_alertevent",
        {"alert_id": alert("FIRING"), "kind": "'FIRED'", "actor": "''", "data": "'{}'::jsonb"},
        {
            "alert_event_kind_known": each("kind", "'OTHER'", "''"),
            "alert_id": each("alert_id", "NULL"),
        },
        each("kind", "'RESOLVED'", "'SILENCED'", "'UNSILENCED'"),
        free="actor data",
    ),
    NewRow(
        "alerts_alertdelivery",
        {
            "tenant_id": tenant("owner"),
            "channel_id": channel("owner"),
            "alert_id": alert("FIRING"),
            "kind": "'FIRING'",
        },
        {
            "alert_delivery_own_tenant": [
                *each("tenant_id", tenant("rival"), "0"),
                *each("channel_id", channel("rival")),
                *each("alert_id", alert("FIRING", "rival"), "gen_random_uuid()"),
            ],
            "alert_delivery_of_alert": [*each("kind", "'TEST'", "'OTHER'"), *each("alert_id", "NULL")],
        },
        [{"alert_id": "NULL", "kind": "'TEST'"}, *each("kind", "'RESOLVED'")],
    ),
]
