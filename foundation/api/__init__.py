"""Problem documents, strict parsers and fields, pagination, OpenAPI."""
