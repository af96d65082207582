"""An order that a restaurant accepts or declines: a pipeline with a person in the middle."""
