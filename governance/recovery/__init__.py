"""The recovery from a bad release."""
