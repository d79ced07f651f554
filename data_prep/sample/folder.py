"""Phantom pictures in class folders: PNG, JPEG and DICOM mixed, with patients in file names and headers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from data_prep.sample.drawing import generator
from data_prep.sample.xray import Patient
from data_prep.sample.xray_signs import radiograph

SIGNS: Mapping[str, Mapping[str, float]] = {
    "clear": {},
    "effusion": {"Pleural Effusion": 1.0},
    "pneumothorax": {"Pneumothorax": 1.0},
}
PATIENTS_A_CLASS = 24
SIZES = ((176, 192), (192, 176), (160, 192))
FORMATS = ("png", "jpg", "png", "dcm", "png")  # by turns
TWELVE_BIT = 16  # grey levels a level of the drawing


def make(folder: Path, seed: int = 0) -> None:
    """Write the phantom pictures below `folder`; the same seed gives the same bytes."""
    number = 0
    for name, signs in SIGNS.items():
        for _ in range(PATIENTS_A_CLASS):
            number += 1
            rng = generator(seed, "folder", number)
            person = Patient.draw(rng, female=bool(rng.random() < 0.5))
            for take in range(1, 2 + (number % 3 == 0)):
                size = SIZES[rng.integers(len(SIZES))]
                pixels = radiograph(rng, person, signs, "frontal", size, int(rng.choice((-1, 1))))
                suffix = FORMATS[(number + take) % len(FORMATS)]
                _write(folder / name / f"p{number:03d}_{take}.{suffix}", pixels, f"p{number:03d}")


def _write(path: Path, pixels: NDArray[np.uint8], patient: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".dcm":
        _header(path.stem, patient, pixels).save_as(path, enforce_file_format=True)
    elif path.suffix == ".jpg":
        Image.fromarray(pixels).save(path, quality=90)
    else:
        Image.fromarray(pixels).save(path)


def _header(name: str, patient: str, pixels: NDArray[np.uint8]) -> Dataset:
    header = Dataset()
    header.SOPClassUID = DigitalXRayImageStorageForPresentation
    header.SOPInstanceUID = generate_uid(entropy_srcs=["medtl phantom", name])
    header.SeriesInstanceUID = generate_uid(entropy_srcs=["medtl phantom", name, "series"])
    header.StudyInstanceUID = generate_uid(entropy_srcs=["medtl phantom", name, "study"])
    header.Modality = "DX"
    header.PatientName = f"Phantom^{patient.upper()}"
    header.PatientID = patient
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.PixelData = (pixels.astype("<u2") * TWELVE_BIT).tobytes()
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header
