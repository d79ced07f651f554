"""MetaImage and NRRD against what wrote them, by ITK and by hand; ITK, nibabel and the DICOM reader against each
other."""

from pathlib import Path
from typing import Any

import itk
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from medtl.errors import BadFileError
from medtl.readers.dicom import read_volume, scan
from medtl.readers.itk_volume import SUFFIXES, read_itk, read_itk_header
from medtl.readers.nifti import read_nifti
from medtl.readers.volume import Volume

TURNED = np.array([[0.8, 0.0, 0.6], [0.6, 0.0, -0.8], [0.0, 1.0, 0.0]])  # columns are the axes, in LPS+
SPACING, ORIGIN = (0.5, 0.75, 2.0), (-11.0, 22.0, 33.5)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture
def voxels() -> NDArray[np.int16]:
    """(z, y, x), every value its own."""
    return np.random.default_rng(3).permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16) - 50


def itk_image(voxels: NDArray) -> Any:
    image = itk.image_from_array(voxels)
    image.SetDirection(itk.matrix_from_array(TURNED))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    return image


def placing(image: Any) -> NDArray[np.float64]:
    """RAS+ affine of an ITK image by asking it where voxels lie."""
    affine = np.eye(4)
    affine[:3, 3] = image.TransformIndexToPhysicalPoint((0, 0, 0))
    for axis in range(3):
        index = [0, 0, 0]
        index[axis] = 1
        affine[:3, axis] = np.array(image.TransformIndexToPhysicalPoint(index)) - affine[:3, 3]
    return LPS_TO_RAS @ affine


def as_nifti(image: Any, path: Path) -> Path:
    """ITK's voxels and geometry in a file that nibabel writes."""
    voxels = itk.array_from_image(image).transpose(2, 1, 0)
    nifti = nib.Nifti1Image(voxels, placing(image), dtype=voxels.dtype)
    nifti.header.set_xyzt_units("mm")
    nib.save(nifti, path)
    return path


def assert_same(one: Volume, other: Volume) -> None:
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.spacing, other.spacing, atol=1e-4)
    np.testing.assert_allclose(one.affine[:3, :3] / one.spacing, other.affine[:3, :3] / other.spacing, atol=1e-5)
    np.testing.assert_allclose(one.affine[:3, 3], other.affine[:3, 3], atol=1e-3)


def refused(path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """The reason, which must not say where the file lies or what it is called."""
    with pytest.raises(BadFileError) as caught:
        read_itk(path)
    capfd.readouterr()  # ITK's own remarks
    assert str(path.parent) not in str(caught.value)
    assert path.stem not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("compressed", [False, True])
def test_round_trip_through_itk(
    suffix: str, dtype: type, compressed: bool, voxels: NDArray[np.int16], tmp_path: Path
) -> None:
    stored = (voxels + 50).astype(dtype)
    itk.imwrite(itk_image(stored), str(tmp_path / f"volume{suffix}"), compression=compressed)
    read = read_itk(tmp_path / f"volume{suffix}")
    assert read.array.dtype == dtype
    np.testing.assert_array_equal(read.array, stored.transpose(2, 1, 0))
    assert read.spacing == pytest.approx(SPACING)
    x, y, z = TURNED @ np.diag(SPACING) @ [3, 1, 2] + ORIGIN
    np.testing.assert_allclose(read.affine @ [3, 1, 2, 1], [-x, -y, z, 1], atol=1e-9)


def test_header_and_raw_file_by_hand(voxels: NDArray[np.int16], tmp_path: Path) -> None:
    """Big-endian, axes along L, I and P: TransformMatrix names the axes one after the other, in LPS+."""
    (tmp_path / "ct.raw").write_bytes(voxels.astype(">i2").tobytes())
    (tmp_path / "ct.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\n"
        "TransformMatrix = 1 0 0 0 0 -1 0 1 0\nOffset = 10 20 30\nElementSpacing = 0.5 0.75 2\nDimSize = 6 5 4\n"
        "ElementType = MET_SHORT\nElementDataFile = ct.raw\n"
    )
    read = read_itk(tmp_path / "ct.mhd")
    np.testing.assert_array_equal(read.array, voxels.transpose(2, 1, 0))
    assert read.affine.tolist() == [[-0.5, 0, 0, -10], [0, 0, -2, -20], [0, -0.75, 0, 30], [0, 0, 0, 1]]
    assert nib.aff2axcodes(read.affine) == ("L", "I", "P")


def test_nrrd_by_hand_in_ras(voxels: NDArray[np.int16], tmp_path: Path) -> None:
    head = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 6 5 4\n"
        "space directions: (0.5,0,0) (0,0.75,0) (0,0,2)\nendian: little\nencoding: raw\nspace origin: (1,2,3)\n\n"
    )
    (tmp_path / "volume.nrrd").write_bytes(head.encode() + voxels.astype("<i2").tobytes())
    read = read_itk(tmp_path / "volume.nrrd")
    np.testing.assert_array_equal(read.array, voxels.transpose(2, 1, 0))
    np.testing.assert_allclose(read.affine, [[0.5, 0, 0, 1], [0, 0.75, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_agrees_with_nifti_of_the_same_volume(suffix: str, voxels: NDArray[np.int16], tmp_path: Path) -> None:
    image = itk_image(voxels)
    itk.imwrite(image, str(tmp_path / f"volume{suffix}"))
    read, nifti = read_itk(tmp_path / f"volume{suffix}"), as_nifti(image, tmp_path / "volume.nii.gz")
    assert_same(read.canonical(), read_nifti(nifti))
    assert nib.aff2axcodes(read.canonical().affine) == ("R", "A", "S")
    stored = nib.load(nifti)
    assert_same(read, Volume(np.asarray(stored.dataobj), stored.affine))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("keep", [0, 30, 100, -1, -100])
def test_cut_files_are_refused(
    suffix: str, keep: int, voxels: NDArray[np.int16], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"Zebedee{suffix}"
    itk.imwrite(itk_image(voxels), str(path))
    path.write_bytes(path.read_bytes()[:keep])
    assert ("is empty" if keep == 0 else "damaged") in refused(path, capfd)


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
@pytest.mark.parametrize("raw", ["absent", "cut"])
def test_data_files_that_are_not_whole_are_refused(
    suffix: str, raw: str, voxels: NDArray[np.int16], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"Zebedee{suffix}"
    itk.imwrite(itk_image(voxels), str(path))
    (data,) = (other for other in tmp_path.iterdir() if other != path)
    content = data.read_bytes()
    data.unlink()
    if raw == "cut":
        data.write_bytes(content[:-2])
    assert "damaged" in refused(path, capfd)


@pytest.mark.parametrize(
    ("changed", "to", "reason"),
    [
        ("NDims = 3", "NDims = 2", "not a volume|damaged"),
        ("NDims = 3", "NDims = three", "header is damaged"),
        ("DimSize = 6 5 4", "DimSize = 6 5 40", "voxels cannot be read"),
        ("DimSize = 6 5 4", "DimSize = -6 5 4", "damaged|not a volume"),
        ("DimSize = 6 5 4", "DimSize = 60000 60000 60000", "claim to hold"),
        ("TransformMatrix = 1 0 0 0 1 0", "TransformMatrix = 1 0 0 1 0 0", "places its voxels nowhere"),
        ("ElementSpacing = 1 1 1", "ElementSpacing = 0 1 1", "places its voxels nowhere"),
        ("MET_SHORT", "MET_NOTHING", "damaged"),
        ("MET_SHORT", "MET_SHORT\nElementNumberOfChannels = 3", "3 values a voxel"),
    ],
)
def test_bad_headers_are_refused(
    changed: str,
    to: str,
    reason: str,
    voxels: NDArray[np.int16],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    head = (
        "ObjectType = Image\nNDims = 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 1 1 1\n"
        "DimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path = tmp_path / "Zebedee.mha"
    path.write_bytes(head.encode() + voxels.tobytes())
    read_itk(path)
    assert changed in head
    path.write_bytes(head.replace(changed, to).encode() + voxels.tobytes())
    words = refused(path, capfd)
    assert any(part in words for part in reason.split("|")), words


def test_pictures_series_in_time_and_other_files_are_no_volume(
    voxels: NDArray[np.int16], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    itk.imwrite(itk.image_from_array(voxels[0]), str(tmp_path / "Zebedee.mha"))
    assert refused(tmp_path / "Zebedee.mha", capfd) == "is not a volume: its shape is (6, 5)"
    itk.imwrite(itk.image_from_array(np.stack([voxels, voxels])), str(tmp_path / "Quentin.nrrd"))
    assert refused(tmp_path / "Quentin.nrrd", capfd) == "is not a volume: its shape is (6, 5, 4, 2)"
    assert refused(tmp_path / "absent.mhd", capfd) == "is missing"
    assert refused(tmp_path / "other.nii", capfd).startswith("is not one of .mhd")


def test_voxels_that_are_no_numbers_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = np.ones((3, 3, 3), np.float32)
    values[1, 1, 1] = np.nan
    itk.imwrite(itk.image_from_array(values), str(tmp_path / "Zebedee.mha"))
    assert refused(tmp_path / "Zebedee.mha", capfd) == "has 1 voxels that are not finite numbers"


# --- sound DICOM series: three programs, one volume ---


@pytest.mark.parametrize(
    "folder",
    [
        "chaos/Train_Sets/CT/3/DICOM_anon",
        "chaos/Train_Sets/MR/1/T2SPIR/DICOM_anon",
        "lidc/LIDC-IDRI/LIDC-IDRI-0001",
        "dicom_awkward/generic/compressed/001",
    ],
)
def test_real_dicom_series_itk_and_nifti_are_one_volume(folder: str, shared_data: Path, tmp_path: Path) -> None:
    (series,) = scan(shared_data / folder).series
    read = read_volume(series)
    paths = [str(header.path) for header in series.headers]
    image = itk.imread(paths, imageio=itk.GDCMImageIO.New())
    by_itk = Volume(itk.array_from_image(image).transpose(2, 1, 0), placing(image))
    assert_same(read, by_itk)
    nifti = as_nifti(image, tmp_path / "volume.nii")
    assert_same(read.canonical(), read_nifti(nifti))
    itk.imwrite(image, str(tmp_path / "volume.mha"))
    assert_same(read, read_itk(tmp_path / "volume.mha"))


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.raw", "deeper/voxels.raw", "..\\\\secret.raw"])
@pytest.mark.parametrize("key", ["ElementDataFile = ", "ElementDataFile="])
def test_header_that_leads_out_of_its_folder_is_refused(name: str, key: str, tmp_path: Path) -> None:
    header = tmp_path / "volume.mhd"
    header.write_text(f"ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n{key}{name}\n")
    with pytest.raises(BadFileError, match="outside its folder"):
        read_itk(header)
    nrrd = tmp_path / "volume.nhdr"
    nrrd.write_text(f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {name}\n\n")
    with pytest.raises(BadFileError, match="outside its folder"):
        read_itk(nrrd)


@pytest.mark.parametrize("name", ["Scan.MHA", "Scan.NRRD", "Scan.MHD", "Scan.NHDR"])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_case_of_the_suffix_and_compression_do_not_matter(
    name: str, compressed: bool, voxels: NDArray[np.int16], tmp_path: Path
) -> None:
    """Also as LUNA16 stores its CT: a .mhd with a compressed .zraw beside it."""
    lower = tmp_path / name.lower()
    itk.imwrite(itk_image(voxels), str(lower), compression=compressed)
    path = lower.rename(tmp_path / name)
    if compressed and name == "Scan.MHD":
        assert (tmp_path / "scan.zraw").is_file()
    read, header = read_itk(path), read_itk_header(path)
    np.testing.assert_array_equal(read.array, voxels.transpose(2, 1, 0))
    assert header.shape == read.array.shape == (6, 5, 4)
    np.testing.assert_allclose(header.affine, placing(itk_image(voxels)), atol=1e-6)


def test_a_header_is_read_without_its_voxels(
    voxels: NDArray[np.int16], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    itk.imwrite(itk_image(voxels), str(tmp_path / "Zebedee.mhd"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(itk, "imread", lambda *_, **__: pytest.fail("its voxels were read"))
        assert read_itk_header(tmp_path / "Zebedee.mhd").shape == (6, 5, 4)
    (tmp_path / "Zebedee.raw").write_bytes(b"\0\0")
    assert "cut short" in refused(tmp_path / "Zebedee.mhd", capfd)
