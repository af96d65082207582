"""Validates the constraint of the statuses of campaigns, which takes no lock that a query waits for."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("executions", "0017_drafting"),)
    operations = (ValidateConstraint("campaign", "campaign_over_has_finish"),)
