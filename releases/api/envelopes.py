"""The form of signed statements: DSSE envelopes."""

from typing import Any

from rest_framework import serializers


class SignatureView(serializers.Serializer[Any]):
    keyid = serializers.CharField(help_text="The id of the coordinator's key.")
    sig = serializers.CharField(help_text="The signature, in base64.")


class EnvelopeView(serializers.Serializer[Any]):
    payload = serializers.CharField(help_text="The in-toto statement, in base64.")
    payloadType = serializers.CharField()
    signatures = SignatureView(many=True)
