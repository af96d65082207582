"""PostgreSQL, Valkey, an S3 server and the product's processes on one machine, for the demo and the tests.

This package does not import Django, and no other package of the product imports this one.
"""
