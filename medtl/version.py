"""State the version of medtl; on the ground floor, because records, reports and workers name it."""

__version__ = "0.1.0"
