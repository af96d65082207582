from django.apps import AppConfig


class TenancyConfig(AppConfig):
    name = "coordinator.tenancy"
    label = "tenancy"
    verbose_name = "Tenants"
