"""Counts of finished executions by release and time, which the clock keeps so that pages never scan executions."""
