"""Texts of a config that are paths or addresses, and whether they lead out of the bundle."""

import posixpath
import re

LONGEST = 4096  # characters of a path
DRIVE = re.compile(r"[A-Za-z]:[\\/]")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://\S")
# ids that say where data are or where results go: there a path may lead anywhere
PLACES = re.compile(r"data|input|output|image|result|log_dir|save_dir|eval_dir|bundle_root|ckpt|cache", re.IGNORECASE)


def is_absolute(text: str) -> bool:
    """Return whether a text is a path from the root, from a drive or from somebody's home."""
    if not 1 < len(text) < LONGEST or "\n" in text:
        return False
    return text.startswith(("/", "~/", "\\\\")) or bool(DRIVE.match(text))


def leads_out(text: str) -> bool:
    """Return whether a relative path has more ``..`` than folders before them."""
    if len(text) >= LONGEST or "\n" in text or ".." not in text:
        return False
    plain = posixpath.normpath(text.replace("\\", "/").lstrip("/"))
    return plain == ".." or plain.startswith("../")


def is_address(text: str) -> bool:
    """Return whether a text begins as an address does (``https://…``, ``s3://…``, ``file://…``)."""
    return len(text) < LONGEST and bool(ADDRESS.match(text))
