"""Progress, details for the next attempt, and lines, as the code of steps reports them."""
