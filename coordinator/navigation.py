"""The sidebar of the admin. It contains only pages that the user may open."""

from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from executions.models import IS_QUESTION, Interaction
from tenancy.access import tenants_of
from tenancy.console.base import holds_anywhere
from tenancy.models import Tenant
from tenancy.roles import Scope

MAX_COUNTED: Final = 999
"""The largest number of open questions that is counted."""
# Model, title, icon.
RELEASING = (
    ("releases_pipeline", "Pipelines", "account_tree"),
    ("releases_release", "Releases", "inventory_2"),
    ("releases_activationrequest", "Activation requests", "how_to_vote"),
    ("executions_smoketest", "Smoke tests", "science"),
    ("releases_trustedkey", "Trusted keys", "verified_user"),
)
RUNNING = (
    ("executions_execution", "Executions", "play_circle"),
    ("executions_interaction", "Waiting for answers", "rate_review"),
    ("executions_hold", "Paused", "pause_circle"),
    ("executions_failuregroup", "Failures", "report"),
    ("executions_campaign", "Campaigns", "campaign"),
    ("executions_worker", "Workers", "memory"),
)
ALERTING = (
    ("alerts_alert", "Alerts", "notifications"),
    ("alerts_alertrule", "Alert rules", "add_alert"),
    ("alerts_alertchannel", "Alert channels", "send"),
)
ADMINISTERING = (
    ("tenancy_tenant", "Tenants", "apartment"),
    ("tenancy_membership", "Members", "group"),
    ("tenancy_apitoken", "API tokens", "key"),
    ("tenancy_auditentry", "Audit log", "receipt_long"),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups of links. The link of the current page is active."""
    upload = reverse("admin:releases_release_upload")
    on_upload = request.path == upload
    groups = [_group("", [_link(request, reverse("admin:index"), "Overview", "dashboard", exact=True)])]
    if holds_anywhere(request, Scope.READ):
        releasing = [_model(request, *entry) for entry in RELEASING]
        releasing[1]["active"] = releasing[1]["active"] and not on_upload
        if holds_anywhere(request, Scope.REGISTER):
            releasing.append(_link(request, upload, "Upload a release", "upload", exact=True))
        groups.append(_group("Releases", releasing))
        running = {model: _model(request, model, *entry) for model, *entry in RUNNING}
        if holds_anywhere(request, Scope.ANSWER) and (waiting := waiting_count(tenants_of(request.user, Scope.ANSWER))):
            badge = f"{waiting}" if waiting <= MAX_COUNTED else f"{MAX_COUNTED}+"
            running["executions_interaction"].update(badge=badge, badge_variant="warning")
        groups.append(_group("Executions", list(running.values())))
        groups.append(_group("Alerts", [_model(request, *entry) for entry in ALERTING]))
    administering = []
    if request.user.is_superuser or holds_anywhere(request, Scope.ADMINISTER):
        administering += [_model(request, *entry) for entry in ADMINISTERING]
    if request.user.is_superuser:
        administering.append(_model(request, "auth_user", "Users", "person"))
        administering.append(_model(request, "coordinator_process", "Status", "monitor_heart"))
    return [*groups, _group("Administration", administering)] if administering else groups


def waiting_count(tenants: QuerySet[Tenant] | list[int]) -> int:
    """Return the number of open questions, at most MAX_COUNTED + 1."""
    rows = Interaction.objects.filter(IS_QUESTION, tenant__in=tenants)
    return rows.order_by()[: MAX_COUNTED + 1].count()


def _group(title: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "separator": False, "items": items}


def _model(request: HttpRequest, model: str, title: str, icon: str) -> dict[str, Any]:
    return _link(request, reverse(f"admin:{model}_changelist"), title, icon)


def _link(request: HttpRequest, link: str, title: str, icon: str, *, exact: bool = False) -> dict[str, Any]:
    active = request.path == link if exact else request.path.startswith(link)
    return {"title": title, "icon": icon, "link": link, "active": active}
