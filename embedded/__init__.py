"""Real servers on one machine, for the demo and the tests: PostgreSQL, Valkey, the processes of the product.

Nothing here imports Django, and nothing of the product imports this package.
"""
