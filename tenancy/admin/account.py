"""The page on which each user sees their roles and sessions, and chooses a time zone."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from foundation.admin.columns import moment
from tenancy.models import ApiToken, Membership
from tenancy.preferences import choose_zone, zone_of, zones
from tenancy.roles import MEANING, Role, Scope, granted

BEGAN = "began_at"
"""The member of the session with the time of the log-in (`coordinator.middleware.sessions`)."""


def account(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """GET shows the page, POST stores the time zone. Needs no permission: everyone sees only their own account."""
    if request.method == "POST":
        try:
            choose_zone(request.user, request.POST.get("time_zone", ""))  # type: ignore[arg-type]  # they are logged in
        except ValueError as error:
            messages.error(request, f"{error} Nothing changed.")
        else:
            messages.success(request, "Times on all pages are now in this zone.")
        return redirect("admin:account")
    began = request.session.get(BEGAN)
    since = datetime.fromtimestamp(began, UTC) if began else None
    frame = {
        **site.each_context(request),
        "title": "My account",
        "roles": _roles(request),
        "zone": zone_of(request.user).key,  # type: ignore[arg-type]  # they are logged in
        "zones": zones(),
        "now": moment(timezone.now()),
        "session_since": since,
        "session_until": since + timedelta(seconds=settings.SESSION_MAX_SECONDS) if since else None,
        "idle_minutes": settings.SESSION_IDLE_SECONDS // 60,
        "token_count": ApiToken.objects.filter(user=request.user.pk, expiry__gt=timezone.now()).count(),
    }
    request.current_app = site.name
    return TemplateResponse(request, "tenancy/account.html", frame)


def _roles(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the tenants of the user, each with the roles and what these allow."""
    held = defaultdict[str, list[Role]](list)
    rows = Membership.objects.filter(user=request.user.pk).order_by("tenant__slug", "role")
    for slug, role in rows.values_list("tenant__slug", "role"):
        held[slug].append(Role(role))
    return [
        {
            "tenant": slug,
            "roles": [role.label for role in roles],
            "meanings": [MEANING[scope] for scope in Scope if scope in granted(roles)],
        }
        for slug, roles in held.items()
    ]
