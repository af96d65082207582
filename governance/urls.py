"""The addresses of activations, requests, gradual activations, campaigns and the like, relative to a tenant's."""

from governance.activation import api as activations
from governance.campaigns import api as campaigns
from governance.gradual import api as gradual_activations
from governance.recovery import api as recoveries
from governance.reports import api as reports
from governance.requests import api as requests
from governance.resubmission import api as resubmissions
from governance.retirement import api as retirements
from governance.smoke_tests import api as smoke_tests

urlpatterns = [
    *resubmissions.urlpatterns,
    *smoke_tests.urlpatterns,
    *campaigns.urlpatterns,
    *reports.urlpatterns,
    *recoveries.urlpatterns,
    *retirements.urlpatterns,
    *activations.urlpatterns,
    *requests.urlpatterns,
    *gradual_activations.urlpatterns,
]
