"""The command palette: finds pages, acts, pipelines, releases and executions that the user may see."""
