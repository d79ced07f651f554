"""Bags of features as .npz files, the same bytes for the same content."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medtl.files import write_bytes

PATIENT = "patient"  # name of the array that says whose the others are
FIRST_DAY = (1980, 1, 1, 0, 0, 0)  # of a zip; numpy's own savez writes the time of day


def write_features(path: Path, bags: Mapping[str, NDArray[np.float32]], patient: str) -> None:
    """Write bags of features (instances, width) and whose they are to an .npz file, atomically.

    The patient's name keeps two patients of the same covariates from being taken for one file listed twice.

    Args:
        path: of the file.
        bags: by name: ``features``, or the starts that gave them.
        patient: whose they are.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in (*bags.items(), (PATIENT, np.array(patient))):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", FIRST_DAY), content.getvalue(), zipfile.ZIP_DEFLATED)
    write_bytes(path, packed.getvalue())
