"""Ways to send claimed executions to workers, each as one function `send(claims) -> unsent`."""
