"""The URLs of alerts, below those of a tenant."""

from alerts.api import alerts, channels, rules

urlpatterns = [*alerts.urlpatterns, *channels.urlpatterns, *rules.urlpatterns]
