"""Validates the constraint of the kinds of interaction events, which takes no lock that a query waits for."""

from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("executions", "0028_reassignment"),)
    operations = (ValidateConstraint("interactionevent", "interaction_event_kind"),)
