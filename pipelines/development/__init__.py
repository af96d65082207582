"""``pipelines dev``: releases a pipeline on each save, and hosts and follows what it released."""
