"""The payments pipeline with a screening step: the same pipeline id, another contract."""
