"""Bundles of other people's making, looked into without running anything of them."""
