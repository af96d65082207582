"""The client of a coordinator's REST API. Both command lines use it. It needs neither Django nor settings."""
