"""REST: the representation of a finding."""

from typing import Any

from rest_framework import serializers


class FindingView(serializers.Serializer[Any]):
    code = serializers.CharField()
    field = serializers.CharField()
    message = serializers.CharField()
    severity = serializers.ChoiceField(choices=["error", "warning"])
