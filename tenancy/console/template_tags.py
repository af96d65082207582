"""Template tags of the admin's pages: cards, buttons, times, and buttons of acts that only some roles may do.

Cards and buttons look like unfold's components. Those copy the whole context of the page for each card.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from foundation import spans
from foundation.admin import columns
from foundation.plurals import up_to
from tenancy.audit.people import Acted
from tenancy.console import list_rows
from tenancy.roles import Scope, roles_granting
from wire.documents.execution_statement import named

register = template.Library()
register.simple_tag(columns.label)
register.filter(columns.class_name)
register.filter(columns.cut)
register.filter(columns.moment)
register.filter(up_to)

MINUTE: Final = 60
WHOLE_WORD: Final = 40
"""How many characters a word of a title may have. Ids of executions and most names of pipelines are shorter."""
NEVER: Final = SafeString('<span class="dc-quiet">never</span>')
BUTTON_COLOURS: Final = {
    "default": "border-base-200 bg-white shadow-xs text-important hover:bg-base-100/80 dark:border-base-700 "
    "dark:bg-transparent dark:hover:bg-base-800/80",
    "danger": "border-red-600 bg-red-600 border-transparent text-white hover:bg-red-600/80",
    "primary": "border-base-200 bg-primary-600 border-transparent text-white hover:bg-primary-600/80",
}


@register.simple_block_tag
def card(content: str, title: str = "") -> SafeString:
    """Show a part of a page in a frame, with its heading if there is one."""
    heading = format_html(
        '<div class="border-b border-base-200 flex flex-row items-center mb-6 -mt-6 -mx-6 py-4 px-6 '
        'dark:border-base-800"><h2 class="font-semibold text-[15px] text-important">{}</h2></div>',
        title,
    )
    return format_html(
        '<div class="bg-white block flex flex-col grow overflow-hidden p-6 relative rounded-default shadow-xs '
        'border border-base-200 dark:bg-base-900 dark:border-base-800">{}<div class="grow relative">{}</div></div>',
        heading if title else "",
        content,
    )


@register.simple_block_tag
def button(content: str, *, href: str = "", variant: str = "primary", submit: bool = False) -> SafeString:
    """Show a link as a button, or the button of a form."""
    element = "a" if href else "button"
    attribute = format_html(' href="{}"', href) if href else SafeString(' type="submit"' if submit else "")  # nosec B703 - constants
    return format_html(
        '<{}{} class="font-medium inline-flex group items-center gap-1 relative rounded-default justify-center '
        'whitespace-nowrap cursor-pointer px-3 py-2 border {}">{}</{}>',
        element,
        attribute,
        BUTTON_COLOURS.get(variant, BUTTON_COLOURS["primary"]),
        content,
        element,
    )


@register.inclusion_tag("parts/list_rows.html", takes_context=True)
def rows(context: Any, changelist: Any) -> dict[str, Any]:
    """Show the table of a list, or what to do if it is empty."""
    may_add = changelist.model_admin.has_add_permission(context["request"])
    return {**list_rows.table(changelist), "has_add_permission": may_add}


@register.simple_tag
def when(at: datetime | str | None) -> SafeString:
    """Show a time, also one that a document has as a text; "never" for None."""
    return columns.timed(datetime.fromisoformat(at) if isinstance(at, str) else at) or NEVER


@register.simple_tag
def who(people: Mapping[Acted, str | None], actor: str, at: datetime) -> str:
    """Name an actor that acted at a time, and the person behind it if it is a token. `people` is of `people_behind`."""
    return named(actor, people[actor, at])


@register.filter
def lasting(seconds: float) -> str:
    """Show how long a time is, such as "5 s" and "1 h"."""
    return f"{seconds:g} s" if seconds < MINUTE else spans.lasting(timedelta(seconds=seconds))


@register.filter
def with_code(text: str) -> SafeString:
    """Return the text as HTML. What is between two backticks is code."""
    pieces = enumerate(text.split("`"))
    shown = (format_html('<code class="dc-mono">{}</code>' if place % 2 else "{}", piece) for place, piece in pieces)
    return SafeString("".join(shown))  # nosec B703 - each piece is escaped


@register.filter
def cut_words(text: Any) -> SafeString:
    """Return the text, with the middle of words such as digests hidden."""
    return format_html_join(" ", "{}", ((columns.cut(word, WHOLE_WORD),) for word in str(text).split(" ")))


@register.filter
def words(name: str) -> str:
    """Show a name such as ONE_TO_MANY in words."""
    return name.replace("_", " ").lower()


@register.inclusion_tag("parts/act.html")
def act(
    view: str,
    row: Any,
    label: str,
    icon: str,
    scope: str,
    *,
    allowed: bool,
    variant: str = "default",
    refusal: str = "",
    **query: str,
) -> dict[str, Any]:
    """Show a link to an act, as a button. If it is not possible, the button is disabled and says why.

    `view` is the name of the act's page in the admin, `row` its argument, and `query` its query. The act needs `scope`;
    `allowed` is true if the user has it. `refusal` says why the act is not possible now; it may be empty.
    """
    why_not = refusal or ("" if allowed else denial_of(scope))
    address = reverse(f"admin:{view}", args=[row]) + (f"?{urlencode(query)}" if query else "")
    return {"address": address, "label": label, "icon": icon, "variant": variant, "why_not": why_not, "id": row}


@register.inclusion_tag("parts/act.html")
def denied(label: str, icon: str, scope: str = "", *, refusal: str = "") -> dict[str, Any]:
    """Show a disabled button in place of a form that the user may not send. It says which roles grant `scope`.

    `refusal` says why the act is not possible now; it may be empty.
    """
    return {"label": label, "icon": icon, "why_not": refusal or denial_of(scope)}


@register.inclusion_tag("parts/later.html")
def later(view: str, row: Any, name: str, shown: str = "") -> dict[str, Any]:
    """Show a slow part of a page once the page is there. `view` is the name of the part's page, and `row` its argument.

    `shown` is what the page shows. See `TenantScopedAdmin.part`.
    """
    query = urlencode({"shown": shown or ""})
    return {"address": f"{reverse(f'admin:{view}', args=[row])}?{query}", "name": name}


@register.simple_tag
def payload_readers() -> str:
    """Name the roles that may read payloads."""
    names = [role.label.lower() for role in roles_granting(Scope.PAYLOADS)]
    return f"{', '.join(names[:-1])} and {names[-1]}"


@register.simple_tag
def denial_of(scope: str, what: str = "do this") -> str:
    """Say that the user's role may not do `what`, which needs `scope`, and which roles may."""
    roles = [role.label.lower() for role in roles_granting(Scope(scope))]
    return f"Your role may not {what}. These roles may: {', '.join(roles)}."
