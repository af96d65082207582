"""Groups of failures with the same cause."""
