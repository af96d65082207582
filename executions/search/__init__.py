"""Finds executions by conditions, for lists, exports and acts on many of them. Cheap for any number of executions."""
