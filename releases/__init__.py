"""Tasks, errors and queries of releases; the pointer with its history; pipelines and their policies."""
