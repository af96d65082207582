"""How the admin looks: the settings of django-unfold."""

from functools import partial

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse


def file_url(name: str, request: HttpRequest) -> str:
    """Return the URL of a static file. Unfold asks for it with each page, when the files have been collected."""
    return static(f"coordinator/{name}")


def page_url(name: str, request: HttpRequest) -> str:
    return reverse(f"admin:{name}")


SCRIPTS = ("idiomorph/idiomorph-ext.min.js", "live.js", "copy.js", "palette.js")

UNFOLD = {
    "SITE_TITLE": "Durable coordinator",
    "SITE_HEADER": "Durable coordinator",
    "SITE_URL": None,
    "SITE_SYMBOL": "push_pin",
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": False,
    "STYLES": [partial(file_url, "admin.css")],
    "SCRIPTS": [partial(file_url, name) for name in SCRIPTS],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": partial(file_url, "favicon.svg")}],
    "DASHBOARD_CALLBACK": "coordinator.overview.overview",
    "ACCOUNT": {
        "navigation": [
            {"title": "My account", "link": partial(page_url, "account")},
            {"title": "Log out everywhere", "link": partial(page_url, "log_out_everywhere")},
        ]
    },
    "SIDEBAR": {"navigation": "coordinator.navigation.navigation"},
    "COLORS": {
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .214 259.815)",
            "600": "oklch(54.6% .245 262.881)",
            "700": "oklch(48.8% .243 264.376)",
            "800": "oklch(42.4% .199 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        }
    },
}
