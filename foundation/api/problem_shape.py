"""The JSON schema of an error, as the OpenAPI document and its tests hold it."""

PROBLEM = {
    "type": "object",
    "description": "An error as RFC 9457 tells it. `code` is stable; docs/errors.md lists every one.",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "message"],
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                    "severity": {"type": "string"},
                },
            },
        },
    },
}
