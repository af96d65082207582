"""The page that says what was active at a time."""
