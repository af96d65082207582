"""Blobs: locks, scrubbing, verdicts, downloads, retention; the content-addressed stores."""
