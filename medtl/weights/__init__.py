"""Weights: where they come from, how each library names them, what fits a network, and the card that tells it."""
