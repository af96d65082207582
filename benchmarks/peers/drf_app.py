"""A Django REST framework view that inserts one row: settings, model, view, URLs and WSGI application in one file.

It has no authentication, a persistent database connection, and only the middleware that sets Content-Length. It shows
the lowest possible cost of a submission.
"""

import os

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from psycopg.conninfo import conninfo_to_dict

_DATABASE = conninfo_to_dict(os.environ["DATABASE_URL"])
settings.configure(
    SECRET_KEY="benchmarks-only",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    INSTALLED_APPS=["rest_framework"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _DATABASE["dbname"],
            "USER": _DATABASE["user"],
            "PASSWORD": _DATABASE["password"],
            "HOST": _DATABASE["host"],
            "PORT": _DATABASE["port"],
            "CONN_MAX_AGE": None,
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "UNAUTHENTICATED_USER": None,
    },
    USE_TZ=True,
)
django.setup()

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework import generics, serializers


class Submission(models.Model):
    id = models.BigAutoField(primary_key=True)
    pipeline = models.CharField(max_length=200)
    input = models.JSONField()
    key = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "drf"
        db_table = "submission"
        managed = False


class SubmissionSerializer(serializers.ModelSerializer[Submission]):
    class Meta:
        model = Submission
        fields = ("id", "pipeline", "input", "key", "created_at")


class Submissions(generics.CreateAPIView[Submission]):
    queryset = Submission.objects.all()
    serializer_class = SubmissionSerializer


def ready(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [path("submissions", Submissions.as_view()), path("health/ready", ready)]
application = get_wsgi_application()
