"""What must hold for any bytes: of a file that claims to be DICOM, and of a zip that claims to be a bundle."""

import functools
import hashlib
import io
import logging
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from medtl.errors import BadFileError, MedtlError
from medtl.readers.dicom import read_image, read_volume, scan
from medtl.weights.archive import unpack

MOST_PIXELS = 2**22  # of what a few kB may become
MOST_BYTES = 2**22
SECRET = "Zebedee"


def dicom(data: bytes, folder: Path) -> None:
    """Give a file of any bytes to the reader, alone and as the middle of a sound series: it is read or refused."""
    folder.mkdir(parents=True, exist_ok=True)
    said = []
    for place in (-1.0, 1.0):
        (folder / f"{place}.dcm").write_bytes(_neighbour(place))
    (folder / "a.dcm").write_bytes(data)
    try:
        found = read_image(folder / "a.dcm")
        assert found.ndim == 2
        assert found.size <= MOST_PIXELS
    except BadFileError as error:
        said.append(str(error))
    scanned = scan(folder)
    said += [reason for _, reason in scanned.rejected]
    for series in scanned.series:
        said.append(repr(series))
        try:
            volume = read_volume(series)
        except BadFileError as error:
            said.append(str(error))
            continue
        assert volume.array.size <= MOST_PIXELS
        assert math.isfinite(float(np.abs(volume.affine).sum()))
    assert SECRET not in "\n".join(said)


def bundle(data: bytes, folder: Path) -> None:
    """Unpack any bytes: a bundle inside its folder, or nothing at all."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.zip").write_bytes(data)
    try:
        unpack(folder / "a.zip", folder / "out", max_bytes=MOST_BYTES)
    except MedtlError:
        assert not (folder / "out").exists() or not any((folder / "out").iterdir())
        assert sorted(path.name for path in folder.iterdir() if path.name != "out") == ["a.zip"]
        return
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert all(path.name == "a.zip" or folder / "out" in path.parents for path in written)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert sum(path.stat().st_size for path in written) <= MOST_BYTES + len(data)


TARGETS = {"dicom": dicom, "unpack": bundle}


@functools.cache
def _neighbour(place: float) -> bytes:
    return _slice(ExplicitVRLittleEndian, place)


def _slice(syntax: str, place: float = 0.0, **elements: object) -> bytes:
    """A CT slice of 8 x 8 pixels."""
    pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values = {
        **{"SOPClassUID": CTImageStorage, "SOPInstanceUID": f"1.2.{5 + int(place)}", "Modality": "CT"},
        **{"SeriesInstanceUID": "1.2.3", "StudyInstanceUID": "1.2.4", "PatientName": SECRET},
        **{"ImagePositionPatient": [0.0, 0.0, place], "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]},
        **{"PixelSpacing": [1.0, 1.0], "InstanceNumber": 5 + int(place), "SamplesPerPixel": 1, "Rows": 8, "Columns": 8},
        **{"PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11},
        **{"PixelRepresentation": 0, "RescaleSlope": 1, "RescaleIntercept": -1024, **elements},
    }
    for name, value in values.items():
        setattr(made, name, value)
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    if syntax == RLELossless:
        made.compress(RLELossless, generate_instance_uid=False)
    made.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def _zip(*, sums: bool, outer: str, compression: int) -> bytes:
    """A bundle's zip of two files."""
    files = {"configs/train.json": b'{"a": 1}', "models/model.pt": bytes(range(40))}
    if sums:
        text = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
        files["SHA256SUMS"] = text.encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(outer + name), content, compress_type=compression)
    return target.getvalue()


def seeds(name: str) -> dict[str, bytes]:
    """Sound files, small, from which damaged ones are made."""
    if name == "dicom":
        syntaxes = {"plain": ExplicitVRLittleEndian, "rle": RLELossless, "deflated": DeflatedExplicitVRLittleEndian}
        found = {kind: _slice(syntax) for kind, syntax in syntaxes.items()}
        return {**found, "inverted": _slice(ExplicitVRLittleEndian, 0.0, PhotometricInterpretation="MONOCHROME1")}
    return {
        "stored": _zip(sums=True, outer="bundle/", compression=zipfile.ZIP_STORED),
        "deflated": _zip(sums=True, outer="", compression=zipfile.ZIP_DEFLATED),
        "without sums": _zip(sums=False, outer="bundle/", compression=zipfile.ZIP_DEFLATED),
    }


def quiet() -> None:
    """Keep warnings and logs of the libraries away."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
