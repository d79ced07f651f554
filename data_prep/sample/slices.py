"""Slices of phantom series as DICOM files."""

from collections.abc import Sequence
from pathlib import Path

from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage


def common_header(modality: str, body: str, pixels: int, pixel: float, spacing: float) -> Dataset:
    """Return what the slices of every transverse series have in common, without its UIDs and bits.

    Args:
        modality: CT or MR.
        body: the part examined.
        pixels: rows and columns.
        pixel: their spacing in mm.
        spacing: of the slices in mm.
    """
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    header.StudyDate = header.SeriesDate = header.AcquisitionDate = header.ContentDate = "20000101"
    header.StudyTime = header.AccessionNumber = header.ReferringPhysicianName = header.StudyID = ""
    header.Modality = modality
    header.Manufacturer = "phantom"
    header.PatientName = header.PatientID = header.PatientBirthDate = header.PatientSex = ""
    header.PatientIdentityRemoved = "YES"
    header.BodyPartExamined = body
    header.SliceThickness = spacing
    header.PatientPosition = "FFS" if modality == "CT" else "HFS"
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.Rows = header.Columns = pixels
    header.PixelSpacing = [pixel, pixel]
    if modality == "CT":
        header.KVP = 120
        header.RescaleIntercept, header.RescaleSlope = -1024, 1
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return header


def write_slice(path: Path, header: Dataset, stored: NDArray, uid: str, number: int, position: Sequence[float]) -> None:
    """Write one slice.

    Args:
        path: of the file; its folder is made.
        header: of the series; takes the slice's own elements.
        stored: (rows, columns) of the stored type.
        uid: of the instance.
        number: of the instance.
        position: of the first voxel in DICOM's axes, in mm.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    header.InstanceNumber = number
    header.ImagePositionPatient = list(position)
    header.SliceLocation = position[2]
    header.PixelData = stored.tobytes()
    header.save_as(path, enforce_file_format=True)
