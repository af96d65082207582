from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig


class TenancyConfig(AppConfig):
    default = True
    name = "tenancy"
    label = "tenancy"
    verbose_name = "Tenants"


class AdminSiteConfig(SimpleAdminConfig):
    """Makes the site that records denials that of all pages. Only processes that serve pages import them."""

    default_site = "tenancy.console.site.Site"
