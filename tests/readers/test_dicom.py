import importlib.util
import io
import logging
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import itk
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless

from medtl.errors import BadFileError, UsageError
from medtl.readers import dicom_pixels, dicom_tags
from medtl.readers.dicom import check_volume, read_image, read_slices, read_volume, scan
from medtl.readers.dicom_tags import IDENTITY, TAGS, open_dataset, quiet
from medtl.readers.volume import Volume

WITH_DICOM = pytest.mark.skipif(importlib.util.find_spec("openjpeg") is None, reason="needs the extra dicom")
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)  # normal (-0.6, 0.8, 0)
SECRETS = ("Zebedee", "Quentin", "7731982", "1947", "20190314", "ACC55512", "Elsewhere", "Xavier", "1.2.826")


def only(path: Path | list[Path], **options: Any) -> Any:
    found = scan(path, **options)
    assert not found.rejected
    (series,) = found.series
    return series


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(BadFileError) as caught:
        read_volume(only(path), **options)
    return str(caught.value)


def itk_volume(paths: list[Path]) -> Any:
    """Read by ITK and GDCM, which share no code with pydicom; ``paths`` in the order of the slices."""
    return itk.imread([str(path) for path in paths], imageio=itk.GDCMImageIO.New())


def assert_same_as_itk(volume: Volume, image: Any) -> None:
    np.testing.assert_array_equal(volume.array.transpose(2, 1, 0), itk.array_from_image(image))
    np.testing.assert_allclose(volume.spacing, tuple(image.GetSpacing()), atol=1e-5)
    for index in [(0, 0, 0), (3, 1, 2), (1, 4, 3)]:
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose((volume.affine @ [*index, 1])[:3], [-x, -y, z], atol=1e-3)


# --- a sound series, however it is named and ordered ---


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), OBLIQUE])
def test_only_geometry_orders_the_slices(tmp_path, save_series, volume, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    paths = save_series(
        tmp_path,
        volume,
        origin=(-120.5, 33.25, 812.75),
        step=2.5 * normal,
        names=["zeta", "IM1", "a.dat", "0007", "b.dcm", "IM10", "IM2"],
        numbers=[3, 7, 1, 1, 6, 2, 5],
        ImageOrientationPatient=list(orientation),
        PixelSpacing=[0.75, 0.5],
        RescaleIntercept="-1024",
    )
    read = read_volume(only(tmp_path))
    assert read.array.dtype == np.int16
    np.testing.assert_array_equal(read.array.transpose(2, 1, 0), volume.astype(int) - 1024)
    assert read.spacing == pytest.approx((0.5, 0.75, 2.5))
    assert_same_as_itk(read, itk_volume(paths))


def test_slices_stored_backwards_come_out_along_the_normal(tmp_path, save_series, volume):
    save_series(tmp_path, volume, step=(0, 0, -2.0))
    read = read_volume(only(tmp_path))
    np.testing.assert_array_equal(read.array.transpose(2, 1, 0), volume[::-1])
    assert read.affine[2, [2, 3]].tolist() == [2, -12]


def test_nothing_depends_on_the_order_of_the_paths(tmp_path, save_series, volume):
    paths = save_series(tmp_path / "a", volume) + save_series(tmp_path / "b", volume, SeriesInstanceUID="1.2.3")
    assert scan(paths) == scan(paths[::-1]) == scan(tmp_path)


def test_two_series_in_one_folder_are_two_volumes(tmp_path, save_series, volume):
    save_series(tmp_path, volume, SeriesInstanceUID="1.2.3.4", names=[f"x{k}" for k in range(7)])
    save_series(tmp_path, volume + 500, SeriesInstanceUID="1.2.3.5", names=[f"w{k}" for k in range(7)])
    second, first = scan(tmp_path).series
    np.testing.assert_array_equal(read_volume(first).array.T, volume)
    np.testing.assert_array_equal(read_volume(second).array.T, volume + 500)


def test_echoes_and_sizes_of_one_series_are_kept_apart(tmp_path, save_series, volume):
    save_series(tmp_path / "a", volume, EchoTime="2.3", Modality="MR")
    save_series(tmp_path / "b", volume, EchoTime="4.6", Modality="MR")
    save_series(tmp_path / "c", volume[:, :4], EchoTime="4.6", Modality="MR")
    found = scan(tmp_path)
    assert [(one.echo_time, one.headers[0].rows) for one in found.series] == [(2.3, 5), (4.6, 5), (4.6, 4)]
    for one in found.series:
        check_volume(one)


def test_rounded_echo_times_within_one_grid_are_one_volume(tmp_path, save, volume):
    for times in ((2.38, 2.39), (4.58, 4.62), (2.38, None, 2.38)):
        folder = tmp_path / str(times)
        folder.mkdir()
        for k, pixels in enumerate(volume):
            echo = times[k % len(times)] or times[0]
            save(folder / f"{k}", pixels, ImagePositionPatient=[0, 0, 2 * k], EchoTime=echo, Modality="MR")
        found = read_volume(only(folder))
        np.testing.assert_array_equal(found.array, volume.transpose(2, 1, 0))


def test_rounded_echoes_of_a_dual_echo_series_are_two_volumes(tmp_path, save, volume):
    for k, pixels in enumerate(volume):
        for number, echo in enumerate((2.3, 4.6)):
            shown = {"ImagePositionPatient": [0, 0, 2 * k], "EchoTime": echo + 0.01 * (k % 2), "Modality": "MR"}
            save(tmp_path / f"{k}_{number}", pixels + number, **shown)
    one, other = scan(tmp_path).series
    assert len(one.headers) == len(other.headers) == len(volume)
    assert {int(read_volume(other).array.sum()) - int(read_volume(one).array.sum())} == {volume.size}


@pytest.mark.parametrize("close", [True, False])
def test_close_echoes_at_the_same_positions_are_kept_apart(tmp_path, save_series, volume, close):
    for number, echo in enumerate((0.07, 0.1 if close else 4.0)):
        save_series(tmp_path / f"{number}", volume, EchoTime=echo, Modality="MR")
    assert [len(one.headers) for one in scan(tmp_path).series] == [len(volume)] * 2


def test_echoes_that_change_from_slice_to_slice_are_refused(tmp_path, save, volume):
    """Every second slice of another echo: two half volumes, each regular and each wrong."""
    for k, pixels in enumerate(volume):
        save(tmp_path / f"{k}", pixels, ImagePositionPatient=[0, 0, 2 * k], EchoTime=2.3 * (1 + k % 2), Modality="MR")
    found = scan(tmp_path)
    assert not found.series
    assert {reason for _, reason in found.rejected} == {
        "the echo time changes from slice to slice: it cannot be told what is one volume"
    }


def test_echoes_of_neighbouring_slabs_are_two_volumes(tmp_path, save_series, volume):
    save_series(tmp_path / "low", volume, EchoTime=2.3, Modality="MR")
    save_series(tmp_path / "high", volume, origin=(0, 0, 100), EchoTime=4.6, Modality="MR")
    assert len(scan(tmp_path).series) == 2


def test_ct_without_a_rescale_intercept_is_refused(tmp_path, save, save_series, volume):
    save(tmp_path / "ct.dcm", volume[0], RescaleIntercept=None)
    with pytest.raises(BadFileError, match="CT without a rescale intercept"):
        read_slices(only(tmp_path))
    with pytest.raises(BadFileError, match="no Hounsfield units"):
        read_image(tmp_path / "ct.dcm")
    with pytest.raises(BadFileError, match="no Hounsfield units"):
        check_volume(only(save_series(tmp_path / "ct", volume, RescaleIntercept=None, SeriesInstanceUID="1.2.3")))
    save(tmp_path / "ct.dcm", volume[0], RescaleIntercept=None, Modality="MR")
    np.testing.assert_array_equal(read_image(tmp_path / "ct.dcm"), volume[0])


def test_enhanced_multi_frame(volume, enhanced):
    series = only(enhanced(volume, order=[4, 0, 6, 2, 1, 5, 3]))
    read = read_volume(series)
    np.testing.assert_array_equal(read.array.T, volume.astype(int) * 2 - 1000)
    assert read.spacing == pytest.approx((0.25, 0.5, 3.0))
    np.testing.assert_allclose(read.affine[:3, 3], [-10, -20, 30])
    np.testing.assert_array_equal(read_slices(series, [5, 1]), volume[[5, 1]].astype(int) * 2 - 1000)


def test_enhanced_multi_frame_with_a_missing_frame_is_refused(volume, enhanced):
    assert "gap: 1 slice missing between 36.00 mm and 42.00 mm (enhanced frame" in refused(
        enhanced(volume, order=[0, 1, 2, 4, 5, 6])
    )


def test_read_slices_reads_only_those(tmp_path, save_series, volume):
    paths = save_series(tmp_path, volume)
    series = only(tmp_path)
    for k, path in enumerate(paths):
        if k not in (2, 5):
            path.unlink()
    np.testing.assert_array_equal(read_slices(series, [5, 2]), volume[[5, 2]])
    with pytest.raises(BadFileError, match=r"the file cannot be read$"):
        read_slices(series, [0])
    with pytest.raises(BadFileError, match=r"the file cannot be read \(slice at 6.00 mm\)"):
        read_slices(series, [2, 3])


# --- what is refused, and how the reason reads ---


def test_five_missing_slices_are_counted_and_placed(tmp_path, save_series):
    paths = save_series(tmp_path, np.zeros((20, 4, 4), np.uint16), origin=(0, 0, -7.5))
    for path in paths[6:11]:
        path.unlink()
    reason = refused(tmp_path)
    assert reason == "gap: 5 slices missing between 2.50 mm and 14.50 mm (slice005.dcm, slice011.dcm)"


def test_several_gaps_are_all_counted(tmp_path, save_series):
    paths = save_series(tmp_path, np.zeros((40, 2, 2), np.uint16))
    for k in (3, 10, 11, 20, 30, 31, 32):
        paths[k].unlink()
    assert refused(tmp_path).startswith("gap: 7 slices missing between 4.00 mm and 8.00 mm")
    assert refused(tmp_path).endswith("and 1 more")


def test_duplicate_positions_are_named(tmp_path, save_series, save, volume):
    save_series(tmp_path / "in", volume)
    save(tmp_path / "in" / "copy", volume[0], ImagePositionPatient=[0, 0, 8.0], InstanceNumber=99)
    reason = refused(tmp_path)
    assert reason == "1 slice too many: two at one position, at 8.00 mm (slice004.dcm, copy)"


def test_uneven_spacing_is_refused_but_rounding_is_not(tmp_path, save_series, save):
    zeros = np.zeros((2, 2), np.uint16)
    for k, z in enumerate([0, 0.6, 1.3, 1.9, 2.5, 3.1, 3.8]):  # 0.625 mm, rounded to one decimal
        save(tmp_path / f"a{k}", zeros, ImagePositionPatient=[0, 0, z])
        save(tmp_path / f"b{k}", zeros, ImagePositionPatient=[0, 0, z + (k > 3)], SeriesInstanceUID="1.9")
    rounded, uneven = scan(tmp_path).series
    check_volume(rounded)
    with pytest.raises(BadFileError, match=r"uneven spacing: 1.60 mm instead of 0.60 mm between 1.90 mm and 3.50 mm"):
        check_volume(uneven)


@pytest.mark.parametrize("degrees", [-20, 5])
def test_tilt_is_judged_by_geometry(tmp_path, save_series, volume, degrees):
    lean = 2.0 * np.tan(np.radians(degrees))
    save_series(tmp_path, volume, step=(0, lean, 2.0), GantryDetectorTilt="0")
    assert f"gantry tilt: the stack leans by {abs(degrees):.1f}°" in refused(tmp_path)
    sheared = read_volume(only(tmp_path), allow_tilt=True)
    np.testing.assert_allclose((sheared.affine @ [0, 0, 6, 1])[:3], [0, -6 * lean, 12], atol=1e-6)


def test_a_stack_that_only_says_it_is_tilted_is_read(tmp_path, save_series, volume):
    save_series(tmp_path, volume, GantryDetectorTilt="20")
    read_volume(only(tmp_path))


def test_a_slice_shifted_sideways_is_refused(tmp_path, save_series, save, volume):
    save_series(tmp_path, volume)
    save(tmp_path / "slice003.dcm", volume[3], ImagePositionPatient=[0, 7, 6.0])
    for allow in (False, True):
        assert "shifted sideways by up to 7.00 mm, at 6.00 mm (slice003.dcm)" in refused(tmp_path, allow_tilt=allow)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    ("keyword", "others"),
    [
        ("PatientID", ("MRN-7731983", "")),
        ("StudyInstanceUID", ("1.2.3.4", "1.2.826.0.1.3680043.8.498.22")),
        ("FrameOfReferenceUID", ("1.2.3.4",)),
    ],
)
def test_two_people_under_one_series_are_refused(tmp_path, save_series, volume, keyword, others, plain):
    """Grids that follow one another, so that nothing but the header tells them apart; read in either way."""
    sequence = {} if plain else {"ReferencedImageSequence": [pydicom.Dataset()]}
    for number, other in enumerate(others):
        folder = tmp_path / f"{number}"
        end = 2.0 * len(volume)
        save_series(folder / "one", volume, names=["a.dcm", *[f"{k}" for k in range(len(volume) - 1)]], **sequence)
        save_series(folder / "other", volume, origin=(0.0, 0.0, end), **{keyword: other}, **sequence)
        found = scan(folder)
        assert not found.series
        assert len(found.rejected) == 2 * len(volume)
        reasons = {reason for _, reason in found.rejected}
        assert reasons == {f"the slices of one series differ in {keyword}: they may be of several people"}
        assert not any(word in str((found, reasons)) for word in ("7731982", "7731983", "1.2.3.4"))


def test_padding_of_an_identifier_makes_nobody_another(tmp_path, save, volume):
    """Blanks do not count in an identifier; and umlauts without a character set are compared as they are."""
    for k, given in enumerate((b"M\xfcller 1", b"M\xfcller 1  ", b" M\xfcller 1")):
        save(
            tmp_path / f"{k}",
            volume[k],
            PatientID=given,
            ImagePositionPatient=[0, 0, 2 * k],
            **({"ReferencedImageSequence": [pydicom.Dataset()]} if k else {}),
        )
    assert len(scan(tmp_path).series) == 1


def test_the_shared_case_of_two_people(shared_case):
    folder = shared_case("files/same_uid_two_patients")
    found = scan(folder)
    assert not found.series
    assert {path.parent.name for path, _ in found.rejected} == {"patientA", "patientB"}


def test_several_orientations_are_refused_before_the_series_is_split(tmp_path, save_series, volume):
    save_series(tmp_path / "a", volume[:3])
    save_series(tmp_path / "b", volume[:3, :4], ImageOrientationPatient=[0, 1, 0, 0, 0, -1], step=(1, 0, 0))
    found = scan(tmp_path)
    assert not found.series
    assert len(found.rejected) == 6
    assert {reason for _, reason in found.rejected} == {
        "several orientations in one series (3 + 3 slices): it cannot be one volume"
    }


def test_rounded_cosines_are_one_orientation(tmp_path, save, volume):
    for k in range(4):  # rounding differs from slice to slice and must not move slices 400 mm from the origin
        cosines = [0.98 + 1e-4 * k, 0.199, 0, -0.199, 0.98 + 1e-4 * k, 0]
        save(tmp_path / f"{k}", volume[k], ImagePositionPatient=[400, 400, k], ImageOrientationPatient=cosines)
    check_volume(only(tmp_path))


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_geometry_are_no_volume(tmp_path, save_series, volume, keyword):
    save_series(tmp_path, volume, **{keyword: None})
    assert "not a volume: 7 of 7 slices have no position, orientation or pixel spacing" in refused(tmp_path)


def test_differing_pixel_spacing_is_refused(tmp_path, save_series, save, volume):
    save_series(tmp_path, volume)
    save(tmp_path / "slice006.dcm", volume[6], ImagePositionPatient=[0, 0, 12], PixelSpacing=[1, 1.1])
    assert refused(tmp_path) == "the pixel spacing differs between slices"


def test_a_rejected_end_slice_is_not_silently_cut_off(tmp_path, save_series, volume):
    paths = save_series(tmp_path, volume)
    paths[-1].write_bytes(paths[-1].read_bytes()[:-10])
    found = scan(tmp_path)
    assert found.rejected == ((paths[-1], "truncated: the file ends before its pixels do"),)
    with pytest.raises(BadFileError, match="1 of 7 files of the series cannot be used"):
        read_volume(found.series[0])


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_slices(tmp_path, save_series, volume, count):
    save_series(tmp_path, volume[:count])
    assert refused(tmp_path) == f"only {count} slice{'s' * (count > 1)}: a volume needs at least 3"


def test_colour_is_refused_for_volumes_and_images(tmp_path, save):
    for k in range(3):
        save(
            tmp_path / f"{k}",
            np.zeros((4, 12), np.uint8),
            Columns=4,
            SamplesPerPixel=3,
            PhotometricInterpretation="RGB",
            PlanarConfiguration=0,
            ImagePositionPatient=[0, 0, k],
        )
    assert "colour" in refused(tmp_path)
    with pytest.raises(BadFileError, match="colour"):
        read_image(tmp_path / "0")


ABSURD = [
    ({"Rows": None}, "rows is missing"),
    ({"Rows": 0}, "rows is not a whole number between 1 and 65535"),
    ({"Rows": 65535, "Columns": 65535}, "absurd picture size"),
    ({"Rows": 9000, "Columns": 9000}, "truncated"),
    ({"PixelSpacing": ["-1", "1"]}, "pixel spacing is not between"),
    ({"PixelSpacing": ["0", "1"]}, "pixel spacing is not between"),
    ({"PixelSpacing": ["nan", "1"]}, "pixel spacing is not a finite number"),
    ({"PixelSpacing": ["1"]}, "pixel spacing has 1 numbers instead of 2"),
    ({"PixelSpacing": b"wide\\1 "}, "pixel spacing"),
    ({"ImagePositionPatient": ["0", "0", "1e300"]}, "absurd position"),
    ({"ImagePositionPatient": ["0", "0"]}, "image position patient has 2 numbers instead of 3"),
    ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "perpendicular unit vectors"),
    ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "perpendicular unit vectors"),
    ({"RescaleSlope": "0"}, "absurd rescale"),
    ({"RescaleSlope": "inf"}, "rescale slope is not a finite number"),
    ({"BitsStored": 17}, "bits stored is not a whole number between 1 and 16"),
    ({"BitsAllocated": 12, "BitsStored": 12}, "12 bits a pixel are not supported"),
    ({"HighBit": 3}, "stored bits are not the lowest"),
    ({"PixelRepresentation": 7}, "pixel representation"),
    ({"PixelRepresentation": None}, "pixel representation is missing"),
    ({"PhotometricInterpretation": None}, "photometric interpretation is missing"),
    ({"NumberOfFrames": 2_000_000_000}, "number of frames"),
    ({"NumberOfFrames": 3}, "3 frames in one file"),
    ({"SeriesInstanceUID": None}, "names no series"),
    ({"ModalityLUTSequence": [pydicom.Dataset()]}, "modality look-up table"),
]


@pytest.mark.parametrize(("elements", "reason"), ABSURD)
def test_absurd_headers_are_rejected_before_anything_is_allocated(tmp_path, save, volume, elements, reason):
    save(tmp_path / "bad", volume[0], **elements)
    tracemalloc.start()
    try:
        ((path, said),) = scan(tmp_path).rejected
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.name == "bad"
    assert reason in said
    assert peak < 20e6


def test_wrong_value_representations_are_rejected(tmp_path, save, volume):
    path = save(tmp_path / "x", volume[0])
    content = path.read_bytes()
    at = content.index(b"\x28\x00\x10\x00US\x02\x00")  # (0028,0010) Rows
    path.write_bytes(content[:at] + b"\x28\x00\x10\x00CS\x02\x00" + b"ab" + content[at + 10 :])
    ((_, reason),) = scan(tmp_path).rejected
    assert reason == "the header's rows is not a number"


def test_damaged_file_meta_counts_where_it_matters(tmp_path, save, volume):
    path = save(tmp_path / "x", volume[0])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x02\x00\x02\x00UI", b"\x02\x00\x02\x00I\x1a"))
    path.with_name("y").write_bytes(content.replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x10\x00I\x1a"))
    found = scan(tmp_path)
    assert [path.name for path, _ in found.rejected] == ["y"]
    assert [header.path.name for header in found.series[0].headers] == ["x"]  # the damaged element is not needed


# --- which files count ---


def test_other_files_are_passed_over_and_broken_dcm_files_are_not(tmp_path, save_series, save, volume):
    save_series(tmp_path / "deep" / "er", volume)
    for name in ("notes.txt", "empty", ".hidden.dcm", "._resource.dcm"):
        (tmp_path / name).write_bytes(b"" if name == "empty" else b"no picture")
    save(tmp_path / "report", volume[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")  # a structured report
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.DCM").write_text("not DICOM at all")
    found = scan(tmp_path)
    assert [len(one.headers) for one in found.series] == [7]
    assert [path.name for path, _ in found.rejected] == ["empty.dcm", "text.DCM"]
    assert all("not a DICOM file" in reason for _, reason in found.rejected)


def test_modality_filter(tmp_path, save_series, save, volume):
    save_series(tmp_path / "ct", volume)
    save_series(tmp_path / "mr", volume, Modality="MR", SeriesInstanceUID="1.5")
    save(tmp_path / "unknown", volume[0], Modality=None, SeriesInstanceUID="1.6")
    found = scan(tmp_path, modality="MR")
    assert [one.modality for one in found.series] == ["MR"]
    assert [(path.name, reason) for path, reason in found.rejected] == [("unknown", "the header names no modality")]


def test_burned_in_annotation_is_refused_unless_allowed(tmp_path, save_series, volume):
    paths = save_series(tmp_path, volume, BurnedInAnnotation="YES")
    found = scan(tmp_path)
    assert not found.series
    assert len(found.rejected) == 7
    assert "burned into the pixels" in found.rejected[0][1]
    with pytest.raises(BadFileError, match="burned"):
        read_image(paths[0])
    read_volume(only(tmp_path, allow_burned_in=True))
    np.testing.assert_array_equal(read_image(paths[0], allow_burned_in=True), volume[0])


def test_missing_folder_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        scan(tmp_path / "nowhere")


def deflated(path: Path, whole: Path, content: bytes | None = None, padding: int = 0) -> Path:
    """A file with the meta information of another and a deflated data set, written by hand."""
    dataset = pydicom.dcmread(whole)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    if padding:
        dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
        dataset.file_meta.PrivateInformation = bytes(padding)
    head = pydicom.filebase.DicomBytesIO()
    pydicom.filewriter.write_file_meta_info(head, dataset.file_meta)
    start = whole.read_bytes().index(b"\x08\x00\x16\x00UI")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(whole.read_bytes()[start:] if content is None else content) + packer.flush()
    path.write_bytes(bytes(128) + b"DICM" + head.getvalue() + packed)
    return path


@pytest.mark.parametrize("padding", [0, 6000, 20000])
def test_deflated_files_are_read(tmp_path, save_series, volume, padding):
    whole = save_series(tmp_path / "whole", volume)
    (tmp_path / "packed").mkdir()
    for path in whole:
        deflated(tmp_path / "packed" / path.name, path, padding=padding)
    found = read_volume(only(tmp_path / "packed"))
    np.testing.assert_array_equal(found.array, read_volume(only(tmp_path / "whole")).array)
    cut = tmp_path / "packed" / whole[0].name
    cut.write_bytes(cut.read_bytes()[:-20])
    assert len(scan(tmp_path / "packed").rejected) == 1


@pytest.mark.parametrize("padding", [0, 6000, 20000])
def test_a_deflated_file_that_would_fill_the_memory_is_refused(tmp_path, save, volume, padding, monkeypatch):
    monkeypatch.setattr(dicom_tags, "MOST_INFLATED", 2**20)
    whole = save(tmp_path / "whole", volume[0])
    start = whole.read_bytes().index(b"\x08\x00\x16\x00UI")
    bomb = deflated(tmp_path / "bomb", whole, whole.read_bytes()[start:] + bytes(2**26), padding)
    whole.unlink()
    tracemalloc.start()
    ((path, reason),) = scan(tmp_path).rejected
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()
    assert path == bomb
    assert reason == "deflated DICOM of more than 1 MB is not supported"


def baseline(folder: Path, save: Any, stream: bytes) -> Path:
    """A DICOM file around a JPEG stream."""
    path = save(folder / "x.dcm", np.zeros((24, 32), np.uint8))
    dataset = pydicom.dcmread(path)
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("padding", [b"", bytes(1), bytes(14), bytes(64), bytes(4000), b"\xff" * 40, b" " * 33])
def test_padding_behind_a_jpeg_stream_does_not_count(tmp_path, save, padding):
    picture = Image.fromarray(np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8))
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=95)
    path = baseline(tmp_path, save, stream.getvalue() + padding)
    assert np.abs(read_image(path) - np.asarray(picture, float)).max() < 8
    cut = baseline(tmp_path, save, stream.getvalue()[:-60] + bytes(60) + padding)
    with pytest.raises(BadFileError, match="has no end"):
        read_image(cut)


def test_the_shared_cases_of_pixels_and_echoes(shared_case):
    (series,) = scan(shared_case("files/echo_interleaved")).series
    assert len(series.headers) == 12
    check_volume(series)
    plain, *padded = (read_image(path) for path in sorted(shared_case("files/jpeg_padded").iterdir()))
    assert len(padded) == 3
    assert all(np.array_equal(one, plain) for one in padded)
    with pytest.raises(BadFileError, match="no Hounsfield units"):
        read_image(shared_case("files/ct_no_rescale") / "ct.dcm")
    assert len(scan(shared_case("files/deflated")).series) == len(scan(shared_case("files/no_preamble")).series) == 1


# --- stored bits to values ---


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint8])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_monochrome_signedness_and_rescale_agree_with_itk(tmp_path, save, dtype, photometric):
    bits = 12 if dtype != np.uint8 else 8
    low, high = (-2048, 2047) if dtype == np.int16 else (0, 2**bits - 1)
    pixels = np.random.default_rng(1).integers(low, high, (8, 9), endpoint=True).astype(dtype)
    path = save(
        tmp_path / "x.dcm",
        pixels,
        PhotometricInterpretation=photometric,
        BitsStored=bits,
        RescaleSlope="2",
        RescaleIntercept="-7",
    )
    expected = (low + high - pixels.astype(int) if photometric == "MONOCHROME1" else pixels.astype(int)) * 2 - 7
    np.testing.assert_array_equal(read_image(path), expected)
    if (dtype, photometric) != (np.int16, "MONOCHROME1"):  # GDCM stops at those
        np.testing.assert_array_equal(read_image(path), itk.array_from_image(itk_volume([path])).reshape(8, 9))


def test_bits_above_the_stored_ones_are_ignored(tmp_path, save):
    true = np.array([[-2048, -1, 0, 2047]], np.int16)
    dirty = ((true.astype(int) & 0xFFF) | 0x5000).astype(np.uint16).view(np.int16)
    np.testing.assert_array_equal(read_image(save(tmp_path / "x", dirty, BitsStored=12)), true)
    clean = (true & 0xFFF).astype(np.int16)  # sign not extended
    np.testing.assert_array_equal(read_image(save(tmp_path / "y", clean, BitsStored=12)), true)


@pytest.mark.parametrize(
    ("slope", "intercept", "stored", "dtype"),
    [("1", "-1024", 4095, np.int16), ("0.5", "0", 10, np.float32), ("1", "0", 40000, np.float32)],
)
def test_type_of_the_values(tmp_path, save, slope, intercept, stored, dtype):
    path = save(tmp_path / "x", np.full((2, 2), stored, np.uint16), RescaleSlope=slope, RescaleIntercept=intercept)
    read = read_image(path)
    assert read.dtype == dtype
    assert (read == stored * float(slope) + float(intercept)).all()


def test_slope_of_every_slice_is_its_own(tmp_path, save):
    for k in range(3):
        pixels = np.full((2, 2), 10, np.uint16)
        save(tmp_path / f"{k}", pixels, Modality="PT", RescaleSlope=f"{k + 0.5}", ImagePositionPatient=[0, 0, k])
    assert read_volume(only(tmp_path)).array[0, 0].tolist() == [5, 15, 25]


def test_padding_becomes_the_smallest_real_value(tmp_path, save):
    pixels = np.array([[-2000, -2000, 5], [40, -1000, 7]], np.int16)
    # -2000 written as unsigned, as GE does
    path = save(tmp_path / "x", pixels, PixelPaddingValue=("US", 63536), RescaleIntercept="-24")
    assert read_image(path).tolist() == [[-1024, -1024, -19], [16, -1024, -17]]


def test_padding_range_and_padding_above_the_stored_bits(tmp_path, save):
    pixels = np.array([[0, 1, 2, 3, 900]], np.uint16)
    path = save(tmp_path / "x", pixels, PixelPaddingValue=0, PixelPaddingRangeLimit=2)
    assert read_image(path).tolist() == [[3, 3, 3, 3, 900]]
    path = save(tmp_path / "y", np.array([[0xF830, 7, 4095]], np.uint16), BitsStored=12, PixelPaddingValue=0xF830)
    assert read_image(path).tolist() == [[7, 7, 4095]]


def test_padding_of_an_inverted_picture_is_dark(tmp_path, save):
    pixels = np.array([[0, 100, 200, 255]], np.uint8)
    elements = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0}
    assert read_image(save(tmp_path / "x", pixels, **elements)).tolist() == [[0, 155, 55, 0]]


def test_a_picture_of_padding_alone_is_left_alone(tmp_path, save):
    path = save(tmp_path / "x", np.full((2, 2), 9, np.uint16), PixelPaddingValue=9)
    assert (read_image(path) == 9).all()


@pytest.mark.parametrize("syntax", [RLELossless, pytest.param(JPEG2000Lossless, marks=WITH_DICOM)])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_compression_changes_nothing(tmp_path, save_series, dtype, syntax):
    volume = np.random.default_rng(2).integers(-900 if dtype == np.int16 else 0, 2000, (3, 32, 40)).astype(dtype)
    for path in save_series(tmp_path, volume, BitsStored=12):
        ds = pydicom.dcmread(path)
        ds.compress(syntax, generate_instance_uid=False)
        ds.save_as(path)
    np.testing.assert_array_equal(read_volume(only(tmp_path)).array.transpose(2, 1, 0), volume)


@pytest.fixture
def squeezed(tmp_path, save):
    """A JPEG 2000 file and its bytes."""
    pytest.importorskip("openjpeg", reason="JPEG 2000 needs the extra dicom")
    path = save(tmp_path / "x.dcm", np.random.default_rng(3).integers(0, 4000, (64, 64)).astype(np.uint16))
    ds = pydicom.dcmread(path)
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    ds.save_as(path)
    return path, path.read_bytes()


def test_a_stream_larger_than_its_header_is_not_decoded(squeezed, monkeypatch):
    path, content = squeezed
    at = content.index(b"\xff\x4f\xff\x51") + 8
    path.write_bytes(content[:at] + b"\x00\x00\xff\xff" * 2 + content[at + 8 :])
    monkeypatch.setattr(
        pydicom.pixels.decoders.base.Decoder, "as_array", lambda *_, **__: pytest.fail("decoded all the same")
    )
    with pytest.raises(BadFileError, match="another size than the header says"):
        read_image(path)


def test_a_truncated_stream_is_refused(squeezed):
    path, _ = squeezed
    ds = pydicom.dcmread(path)
    (frame,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 2]])
    ds.save_as(path)
    with pytest.raises(BadFileError, match="truncated"):
        read_image(path)


class OnlyPydicom:
    """The decoder of an installation without the extra."""

    available_plugins, is_available = ("pydicom",), True

    def __init__(self, syntax):
        self.decoder = pydicom.pixels.get_decoder(syntax)

    def as_array(self, data, **options):
        return self.decoder.as_array(data, **{**options, "decoding_plugin": "pydicom"})


@pytest.mark.parametrize("decoder", [pytest.param(pydicom.pixels.get_decoder, marks=WITH_DICOM), OnlyPydicom])
def test_a_run_length_stream_that_never_ends_is_refused(tmp_path, save, monkeypatch, decoder):
    monkeypatch.setattr(dicom_pixels, "get_decoder", decoder)
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    path = save(tmp_path / "x.dcm", pixels)
    ds = pydicom.dcmread(path)
    ds.compress(RLELossless, generate_instance_uid=False)
    (frame,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    for tail in (b"\x81\x00", b"\x7f\x01", b"\xff\x07"):
        ds.PixelData = pydicom.encaps.encapsulate([frame[:64] + tail * ((len(frame) - 64) // 2)])
        ds.save_as(path)
        with pytest.raises(BadFileError, match="damaged"):
            read_image(path)
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds.save_as(path)
    np.testing.assert_array_equal(read_image(path), pixels)


def test_a_missing_plug_in_is_named(squeezed, monkeypatch):
    class Bare:
        available_plugins = ()
        is_available = False

    monkeypatch.setattr(dicom_pixels, "get_decoder", lambda _: Bare())
    with pytest.raises(BadFileError, match=r"JPEG 2000.*pip install medtl\[dicom\]"):
        read_image(squeezed[0])


def test_pixels_of_another_length_are_refused(tmp_path, save, volume):
    path = save(tmp_path / "x", volume[0], PixelData=volume[:2].tobytes())
    with pytest.raises(BadFileError, match="more pixels than the header says"):
        read_image(path)
    with pytest.raises(BadFileError, match="truncated"):
        read_image(save(tmp_path / "y", volume[0], PixelData=None, ImageComments="x" * 9000))


def test_read_image_refuses_what_is_not_one_picture(tmp_path, save, volume, enhanced):
    path = save(tmp_path / "frames", volume, NumberOfFrames=7)
    with pytest.raises(BadFileError, match="7 frames in one file without a header for each"):
        read_image(path)
    assert not scan(tmp_path).series
    with pytest.raises(BadFileError, match="7 frames where one picture is expected"):
        read_image(enhanced(volume, range(7)))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(BadFileError, match="not a DICOM file"):
        read_image(tmp_path / "text")


# --- nobody is named ---


def test_only_allowed_elements_are_read(tmp_path, save, volume):
    path = save(tmp_path / "x", volume[0])
    with quiet():
        read, _ = open_dataset(path, pixels=True)
        header, _ = open_dataset(path, pixels=False)
    assert {element.keyword for element in read} <= set(TAGS)
    assert {element.keyword for element in header} <= {*TAGS, *IDENTITY}
    assert not any(
        word in keyword
        for keyword in TAGS
        for word in ("Patient", "Date", "Time", "Name", "Physician")
        if keyword not in ("ImagePositionPatient", "ImageOrientationPatient", "EchoTime", "EffectiveEchoTime")
    )


def test_no_message_repr_warning_or_log_names_anyone(tmp_path, save_series, save, volume, caplog, recwarn):
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    for number, (elements, _) in enumerate(ABSURD):
        folder = tmp_path / f"absurd{number}"
        folder.mkdir()
        save(folder / "x.dcm", volume[0], **elements)
    save(tmp_path / "phi.dcm", volume[0], PixelSpacing=b"Zebedee\\Quentin", Modality="Zebedee")
    save(tmp_path / "long.dcm", volume[0], Modality="Zebedee 1947", PhotometricInterpretation="Quentin")
    uid_names = [f"1.2.826.0.1.3680043.8.498.{k}" for k in range(7)]
    for name in ("gap", "double", "tilt"):
        paths = save_series(
            tmp_path / name,
            volume,
            names=uid_names,
            SeriesInstanceUID=f"1.2.826.0.1.{len(name)}",
            step=(0, float(name == "tilt"), 2.0),
        )
        if name == "gap":
            paths[3].unlink()
        if name == "double":
            save(tmp_path / name / "again", volume[0], SeriesInstanceUID="1.2.826.0.1.6")
    recwarn.clear()
    caplog.clear()
    found = scan(tmp_path)
    assert len(found.rejected) > 20
    said.extend(reason for _, reason in found.rejected)
    for series in found.series:
        said.extend([repr(series), repr(series.headers)])
        try:
            read_volume(series)
        except BadFileError as error:
            said.append(str(error))
    assert any("gap: 1 slice missing between 4.00 mm and 8.00 mm (<uid>, <uid>)" in text for text in said)
    text = "\n".join([*said, caplog.text, *(str(warning.message) for warning in recwarn)])
    for secret in (*SECRETS, str(tmp_path)):
        assert secret not in text
    assert not caplog.records
    assert not recwarn.list


# --- real scans ---


@pytest.fixture(scope="session")
def chaos_ct(shared_data) -> list[Path]:
    folder = shared_data / "chaos/Train_Sets/CT/3/DICOM_anon"
    return sorted(folder.iterdir(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))


def test_real_ct_agrees_with_itk(chaos_ct):
    assert_same_as_itk(read_volume(only(chaos_ct, modality="CT")), itk_volume(chaos_ct))


def test_real_ct_with_five_slices_removed_is_refused(chaos_ct):
    z = [float(pydicom.dcmread(chaos_ct[k]).ImagePositionPatient[2]) for k in (29, 35)]
    with pytest.raises(BadFileError) as caught:
        check_volume(only(chaos_ct[:30] + chaos_ct[35:]))
    assert str(caught.value) == (
        f"gap: 5 slices missing between {z[0]:.2f} mm and {z[1]:.2f} mm ({chaos_ct[29].name}, {chaos_ct[35].name})"
    )


@pytest.mark.parametrize("case", [1, 10])
def test_real_mr_agrees_with_itk(shared_data, case):
    folder = shared_data / f"chaos/Train_Sets/MR/{case}/T2SPIR/DICOM_anon"
    paths = sorted(folder.iterdir(), key=lambda path: float(pydicom.dcmread(path).ImagePositionPatient[2]))
    assert_same_as_itk(read_volume(only(folder, modality="MR")), itk_volume(paths))


@pytest.mark.parametrize(
    "kind", ["", "_rle", *(pytest.param(kind, marks=WITH_DICOM) for kind in ("_j2k", "_jpegls", "_jpeg"))]
)
def test_real_compressed_series_equal_their_ground_truth(shared_data, kind):
    folder = shared_data / f"dicom_awkward/generic/compressed{kind}"
    truth = nib.load(folder / "001_ground_truth.nii.gz")
    read, true = read_volume(only(folder)).canonical(), Volume(np.asarray(truth.dataobj), truth.affine).canonical()
    np.testing.assert_array_equal(read.array, true.array)
    np.testing.assert_allclose(read.affine, true.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("failing/gantrytilting", "gantry tilt: the stack leans by 14.0°"),
        ("failing/notavolume", "not a volume: all 4 slices lie at one position, 61.50 mm (001.dcm"),
        ("failing/slicecount", "only 2 slices"),
        ("generic/rgb", "colour"),
    ],
)
def test_real_awkward_series_are_refused_for_the_right_reason(shared_data, folder, reason):
    assert reason in refused(shared_data / "dicom_awkward" / folder)


def test_real_series_of_two_orientations_is_rejected(shared_data):
    found = scan(shared_data / "dicom_awkward/failing/sliceorientation")
    assert not found.series
    assert [reason.split(":")[0] for _, reason in found.rejected] == [
        "several orientations in one series (2 + 2 slices)"
    ] * 4


def test_real_monochrome1_is_inverted_as_itk_does(shared_data):
    path = shared_data / "dicom_awkward/monochrome1/RG3_J2KI.dcm"
    read = read_image(path)
    assert read.shape == (1760, 1760)
    np.testing.assert_array_equal(read, 1023 - pydicom.dcmread(path).pixel_array.astype(int))
    np.testing.assert_array_equal(read, itk.array_from_image(itk_volume([path])).squeeze())
