"""An execution in words: what it does, what happens next, its history, its code."""
