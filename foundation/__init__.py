"""What the Django apps share: environment, errors, HTTP exchanges, turns and slots, wake-ups."""
