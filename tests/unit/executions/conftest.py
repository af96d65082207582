"""Settings of the property tests."""

from hypothesis import settings

# A machine that is busy is slow, which is no mistake of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
