"""The admin pages of pipelines, releases, activation requests and trusted keys."""

from django.contrib import admin

from releases.admin.pipelines import PipelineAdmin
from releases.admin.releases import ReleaseAdmin
from releases.admin.requests import RequestAdmin
from releases.admin.trusted_keys import TrustedKeyAdmin
from releases.models import ActivationRequest, Pipeline, Release, TrustedKey

admin.site.register(Pipeline, PipelineAdmin)
admin.site.register(Release, ReleaseAdmin)
admin.site.register(ActivationRequest, RequestAdmin)
admin.site.register(TrustedKey, TrustedKeyAdmin)
