"""A NIfTI volume's mask lies on it for every reader: forms, codes and units are the source's."""

import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bright_masks import predict_bright

from medtl.data import volumes
from medtl.errors import BadFileError
from medtl.readers.nifti import read_header, read_nifti

TURNED = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.1, 0.2) @ np.diag([-1.5, 1.25, 4]), (31, -47, 12))
ELSEWHERE = nib.affines.from_matvec(np.diag([1.5, 1.25, 4]), (-90, 20, 5))
SHAPE = (9, 11, 6)


def write(path: Path, kind: Any = nib.Nifti1Image, endianness: str = "<", **elements: Any) -> Path:
    """A volume whose qform is TURNED and sform ELSEWHERE, with elements of its header set as they are."""
    stored = np.random.default_rng(0).integers(1, 900, SHAPE).astype(np.int16)
    header = kind.header_class(endianness=endianness)
    header.set_data_shape(SHAPE)
    header.set_data_dtype(np.int16)
    header.set_qform(TURNED, code=elements.pop("qform_code", 1))
    header.set_sform(ELSEWHERE, code=elements.pop("sform_code", 2))
    header["vox_offset"], header["magic"] = header.single_vox_offset, header.single_magic
    header["scl_slope"], header["scl_inter"] = 1, 0
    for name, value in elements.items():
        header[name] = value
    path.write_bytes(header.binaryblock + bytes(4) + stored.astype(f"{endianness}i2").tobytes(order="F"))
    return path


FORMS: dict[str, dict[str, Any]] = {
    "they disagree": {},
    "qform alone": {"sform_code": 0},
    "sform alone": {"qform_code": 0},
    "codes of templates": {"qform_code": 3, "sform_code": 4},
    "neither": {"qform_code": 0, "sform_code": 0},
    "sform of zeros": {"srow_x": 0, "srow_y": 0, "srow_z": 0},
    "big-endian": {"endianness": ">"},
    "NIfTI-2": {"kind": nib.Nifti2Image, "qform_code": 1, "sform_code": 0},
    "metres": {"xyzt_units": 1, "sform_code": 0, "pixdim": (1, 0.0015, 0.002, 0.004, 1, 1, 1, 1)},
}


def itk_grid(path: Path) -> tuple[Any, ...]:
    itk = pytest.importorskip("itk")
    image = itk.imread(str(path))
    return tuple(np.asarray(part, float) for part in (image.GetOrigin(), image.GetSpacing(), image.GetDirection()))


def check_same_place(source: Path, mask: Path) -> None:
    """ITK's own reader of NIfTI takes no NIfTI-2."""
    one, other = nib.load(source), nib.load(mask)
    assert np.array_equal(one.affine, other.affine)
    for form in ("get_sform", "get_qform"):
        (there, code), (here, own) = (getattr(image, form)(coded=True) for image in (one, other))
        assert code == own
        assert np.array_equal(there, here) if there is not None else here is None
    assert one.header.get_xyzt_units() == other.header.get_xyzt_units()
    assert one.shape[:3] == other.shape
    if isinstance(one, nib.Nifti2Image):
        return
    for there, here in zip(itk_grid(source), itk_grid(mask), strict=True):
        assert np.allclose(there, here, atol=1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_mask_lies_on_its_source_in_itk_and_nibabel(name: str, tmp_path: Path) -> None:
    source = write(tmp_path / "volume.nii", **FORMS[name])
    found = predict_bright(source, tmp_path / "out")
    check_same_place(source, tmp_path / "out/masks/volume.nii.gz")
    stored = np.asarray(nib.load(source).dataobj)
    labels = np.asarray(nib.load(tmp_path / "out/masks/volume.nii.gz").dataobj)
    # the brightest voxels are bright in the mask, voxel by voxel: nothing was turned on the way
    assert labels[stored > 600].all()
    assert not labels[stored < 300].any()
    assert found.sources[0].header is not None
    assert any("left and right may be exchanged" in note for note in found.notes) == (name == "neither")


@pytest.mark.parametrize(("code", "scale"), [(0, 1), (1, 0.001), (2, 1), (3, 1000)])
def test_units_count_in_volumes_and_spacings(code: int, scale: float, tmp_path: Path) -> None:
    sizes = [size * scale for size in (1.5, 2, 4)]
    source = write(tmp_path / "volume.nii", xyzt_units=code, sform_code=0, pixdim=(1, *sizes, 1, 1, 1, 1))
    assert read_nifti(source).spacing == pytest.approx((1.5, 2, 4))
    assert volumes.found(str(source), 32).sources[0].millilitres == pytest.approx(0.012)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"vox_offset": 0}, "start at byte 0, within its own header"),
        ({"vox_offset": 348}, "start at byte 348, within its own header"),
        ({"vox_offset": float("nan")}, "start at byte nan"),
        ({"magic": b"ni1"}, "a .hdr/.img pair"),
        ({"magic": b""}, "is not a NIfTI file"),
        ({"xyzt_units": 1}, "voxels of 1500"),
        ({"srow_x": 0, "qform_code": 0}, "places its voxels nowhere"),
    ],
)
def test_headers_that_place_voxels_nowhere_are_refused(elements: dict[str, Any], reason: str, tmp_path: Path) -> None:
    source = write(tmp_path / "volume.nii", **elements)
    for read in (read_header, read_nifti):
        with pytest.raises(BadFileError, match=reason):
            read(source)


def test_gzip_is_known_by_its_bytes(tmp_path: Path) -> None:
    import gzip

    plain = write(tmp_path / "plain.nii")
    expected = read_nifti(plain).array
    packed = gzip.compress(plain.read_bytes())
    half = len(plain.read_bytes()) // 2
    several = gzip.compress(plain.read_bytes()[:half]) + gzip.compress(plain.read_bytes()[half:])
    names = {"packed.nii": packed, "renamed.nii.gz": plain.read_bytes(), "UPPER.NII.GZ": packed, "two.nii.gz": several}
    for name, content in names.items():
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(read_nifti(tmp_path / name).array, expected), name


def test_a_repaired_header_is_not_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "volume.nii")
    content = bytearray(source.read_bytes())
    content[76:80] = struct.pack("<f", 0)  # qfac
    source.write_bytes(content)
    assert read_nifti(source).spacing == pytest.approx((1.5, 1.25, 4))
    assert capsys.readouterr().err == ""


def test_the_shared_cases_of_headers(shared_case: Any, tmp_path: Path) -> None:
    for case in ("nii_forms", "nii_units"):
        for source in sorted(shared_case(f"files/{case}").iterdir()):
            out = tmp_path / source.name
            predict_bright(source, out)
            (mask,) = (out / "masks").iterdir()
            check_same_place(source, mask)
    with pytest.raises(BadFileError, match="within its own header"):
        read_nifti(shared_case("files/nii_vox_offset0") / "x.nii")
