"""Activation, rollback, and the gates that judge them."""
