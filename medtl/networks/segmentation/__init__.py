"""One file a decoder; each registers its record when it is imported."""
