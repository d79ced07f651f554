"""Bundles as they are run: ``facade`` is what a config calls first."""
