"""How the admin looks: the settings of django-unfold."""

from django.urls import reverse_lazy

UNFOLD = {
    "SITE_TITLE": "Durable coordinator",
    "SITE_HEADER": "Durable coordinator",
    "SITE_URL": None,
    "SITE_SYMBOL": "push_pin",
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_HISTORY": False,
    "STYLES": ["coordinator.navigation.stylesheet"],
    "SCRIPTS": [f"coordinator.navigation.{name}" for name in ("morphing", "live", "copying", "palette")],
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "coordinator.navigation.favicon"}],
    "DASHBOARD_CALLBACK": "coordinator.overview.overview",
    "ACCOUNT": {
        "navigation": [
            {"title": "My account", "link": reverse_lazy("admin:account")},
            {"title": "Log out everywhere", "link": reverse_lazy("admin:log_out_everywhere")},
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
