"""The registrar, verification, direct uploads, image registries, Maven repositories."""
