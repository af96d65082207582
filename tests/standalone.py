"""Django's settings for programs of the tests that run outside of pytest. Import it before the models.

The settings name no server: such a program starts its own.
"""

import os

import django
from django.apps import apps

from coordinator.cli import fill_in

if not apps.ready:
    fill_in(["help"])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
    django.setup()
