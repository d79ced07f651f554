"""Tests between prediction files of any tool, and plans for studies that are still to be made."""
