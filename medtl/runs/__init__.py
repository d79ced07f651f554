"""A run's folder: its record, where it lies, and how it goes on."""
