"""One file a family of networks; each registers its records when it is imported, and none imports torch by itself."""
