"""Keeping people unknown: keyed hashes in place of names and numbers, and the one file that leads back.

A hash without a key would be no protection: with a list of a hospital's patient numbers anybody can hash them all.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import pydicom

from medtl.errors import UsageError
from medtl.files import OWNERS_FILE, csv_text, replacing
from medtl.readers.dicom_tags import quiet

MAPPING = "private_mapping.csv"
COLUMNS = ("image", "file", "patient", "given")
KEY_BYTES = 32
LEAST_KEY = 16
HEX_DIGITS = 16  # of a hash that is shown: 64 bits, so that no two patients meet
LEAST_TELLING = 3  # a shorter word stands in any path by chance


def key(file: Path) -> bytes:
    """Return the secret in a file; made there, for its owner's eyes only, if the file is absent.

    Raises:
        UsageError: the file holds fewer than 16 bytes, or its folder is absent.
    """
    if not file.parent.is_dir():
        raise UsageError(f"--key-file {file}: no such folder")
    if not file.exists():
        with replacing(file) as part:
            part.touch(mode=OWNERS_FILE)
            part.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")
    content = file.read_bytes().strip()
    if len(content) < LEAST_KEY:
        raise UsageError(f"{file} holds no key: expected at least {LEAST_KEY} characters, or a file that is not there")
    return content


def keyed_hash(secret: bytes, text: str) -> str:
    """Return 16 hex digits of HMAC-SHA256 (RFC 2104)."""
    return hmac.new(secret, text.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[:HEX_DIGITS]


def dicom_identity(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return who a DICOM file is about: the patient's id (empty where there is none), and the words that name the
    person and must not be shown. Empty for anything that cannot be read as DICOM."""
    with quiet():
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", "PatientName"])
            identity, name = str(header.get("PatientID") or "").strip(), str(header.get("PatientName") or "")
        except Exception:  # pydicom raises a dozen types on damaged files
            return "", ()
    return identity, (identity, *re.split(r"[\W_]+", name))


def masked(file: str, words: Iterable[str], code: str) -> str:
    """Return a path with every word that tells a person replaced by ``[code]``."""
    for word in sorted({word for word in words if len(word) >= LEAST_TELLING}, key=len, reverse=True):
        file = re.sub(re.escape(word), f"[{code}]", file, flags=re.IGNORECASE)
    return file


def write_mapping(rows: Sequence[tuple[str, str, str, str]], folder: Path) -> Path:
    """Write ``folder/private_mapping.csv`` (image, file, patient, given), readable by its owner alone."""
    path = folder / MAPPING
    with replacing(path) as part:
        part.touch(mode=OWNERS_FILE)
        part.write_text(csv_text([COLUMNS, *rows]), encoding="utf-8", errors="backslashreplace")
    return path
