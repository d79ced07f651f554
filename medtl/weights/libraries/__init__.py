"""Layouts of other libraries' weights: one file a library; each registers its records when it is imported."""
