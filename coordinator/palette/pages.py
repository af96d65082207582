"""The pages of the console that the user may open, and acts that concern no particular row."""

from collections.abc import Iterator

from django.http import HttpRequest

from coordinator.navigation import navigation
from coordinator.palette.found import Found, matches, page, words_of
from tenancy.admin.base import holds_anywhere
from tenancy.roles import Scope


def find(request: HttpRequest, term: str) -> list[Found]:
    """Return the pages whose titles contain each word of `term`. All pages for an empty term."""
    words = words_of(term)
    return [found for found in _pages(request) if matches(words, found.title)]


def _pages(request: HttpRequest) -> Iterator[Found]:
    for group in navigation(request):
        for item in group["items"]:
            yield Found(item["title"], "Page", item["link"], item["icon"])
    if holds_anywhere(request, Scope.OPERATE):
        yield Found("Start a campaign", "Act", page("executions_campaign_start"), "campaign")
    if holds_anywhere(request, Scope.ADMINISTER):
        yield Found("Issue an API token", "Act", page("tenancy_apitoken_add"), "key")
        yield Found("Add a member", "Act", page("tenancy_membership_add"), "person_add")
    yield Found("My account", "Page", page("account"), "account_circle")
    yield Found("Change your password", "Act", page("password_change"), "password")
    yield Found("Log out everywhere", "Act", page("log_out_everywhere"), "logout")
