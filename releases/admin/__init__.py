"""The admin pages of pipelines, releases and trusted keys."""

from django.contrib import admin

from releases.admin.pipelines import PipelineAdmin
from releases.admin.releases import ReleaseAdmin
from releases.admin.trusted_keys import TrustedKeyAdmin
from releases.models import Pipeline, Release, TrustedKey

admin.site.register(Pipeline, PipelineAdmin)
admin.site.register(Release, ReleaseAdmin)
admin.site.register(TrustedKey, TrustedKeyAdmin)
