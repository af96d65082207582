"""`coordinator apply`: makes a tenant as a file describes it.

A section of the file reads what the tenant has and returns the changes that are missing. The changes are printed, and
then sent, in order. Applying the same file again finds no changes.
"""
