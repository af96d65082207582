"""The pages that end sessions: the own ones, and those of other people."""

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_POST

from tenancy import sessions
from tenancy.access import actor
from tenancy.audit.acts import Act, declares
from tenancy.console.base import TenantScopedAdmin, attempt, serves
from tenancy.models import Membership
from tenancy.roles import Scope

OTHERS = "others"
"""What a form sends instead of the id of a session to end all others."""
CONSEQUENCE = (
    "If {name} has roles in this tenant only, all their sessions in the console end now, and they must log in again. "
    "Their roles and API tokens remain. Sessions of people with roles elsewhere, and of superusers, remain: remove the "
    "role instead, which applies at once."
)


def count(number: int) -> str:
    return "1 session has ended." if number == 1 else f"{number} sessions have ended."


@declares(Act.USER_END_SESSIONS)
@require_POST
def end_own(request: HttpRequest) -> HttpResponse:
    """End one of the own sessions, or all others. Needs no permission."""
    user, chosen = request.user, request.POST.get("session", "")
    assert isinstance(user, User)  # noqa: S101 - the admin requires it

    def end() -> str:
        if chosen == OTHERS:
            return count(sessions.end_others(user, request.session.session_key or ""))
        if not (chosen.isascii() and chosen.isdigit() and len(chosen) < 19):
            raise sessions.SessionUnknown("The session is over already.")
        sessions.end_session(user, int(chosen))
        return count(1)

    attempt(request, end, "{detail}")
    return redirect("admin:account")


@declares(Act.USER_END_SESSIONS)
@require_POST
def end_of_user(request: HttpRequest, user_id: int) -> HttpResponse:
    """End all sessions of a user. Superusers only."""
    by = request.user
    if not isinstance(by, User) or not by.is_superuser:
        raise PermissionDenied
    user = get_object_or_404(User, pk=user_id)
    messages.success(request, count(sessions.end_all(user, by=by)))
    return redirect("admin:auth_user_change", user.pk)


@serves("<path:object_id>/end-sessions/", Act.USER_END_SESSIONS, Scope.ADMINISTER, methods=("GET", "HEAD", "POST"))
def end_of_member(pages: TenantScopedAdmin, request: HttpRequest, row: Membership) -> HttpResponse:
    """Ask before the sessions of a member end. The answer does not tell whether there were any."""
    if request.method == "POST":
        sessions.end_of_member(row.tenant, row.username, actor=actor(request.user))
        messages.success(request, f"{row.username} must log in again, unless they have roles elsewhere.")
        return redirect("admin:tenancy_membership_change", row.pk)
    consequence = CONSEQUENCE.format(name=row.username)
    return pages.page(
        request, "tenancy/remove.html", title="End sessions", object=row, original=row, consequence=consequence
    )
