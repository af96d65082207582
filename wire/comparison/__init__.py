"""What changes from one release to another one, and who is affected."""
