import itertools
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import line, polygon

from medtl.errors import BadFileError
from medtl.readers.dicom import scan
from medtl.readers.lidc import (
    Annotation,
    Contour,
    Mark,
    contour_mask,
    crop,
    join_marks,
    mark_masks,
    missing_slices,
    read_xml,
    slices,
    unique_positions,
)

SHAPE = (64, 64)


def square(row: int, column: int, size: int) -> NDArray[np.int64]:
    """Corners of an outline whose inside is ``size`` pixels wide with its first pixel at (row, column)."""
    low, high = np.array([column - 1, row - 1]), np.array([column + size, row + size])
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])


def mark(reader: int, *squares: tuple[int, int, int, float], inclusion: bool = True) -> Mark:
    contours = tuple(Contour(f"uid{z}", z, inclusion, square(r, c, size)) for r, c, size, z in squares)
    return Mark(reader, contours, {"subtlety": 3})


def drawn(points: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a closed outline, gaps bridged by straight lines."""
    outline = np.zeros(shape, bool)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        x, y = np.rint(np.linspace(start, end, np.abs(end - start).max() + 1)).astype(int).T
        outline[y, x] = True
    return outline


def enclosed(points: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels inside a closed outline by counting how often a ray to the right crosses it, without the outline."""
    rows, columns = np.indices(shape)
    crossings = np.zeros(shape, int)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            spans = (rows >= min(y0, y1)) & (rows < max(y0, y1))
            crossings += spans & (columns < x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
    return (crossings % 2 == 1) & ~drawn(points, shape)


def filled(points: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The outline filled, without it. Unlike ``enclosed`` it also fills one-pixel bays outside a crooked outline."""
    outline = drawn(points, shape)
    return ndimage.binary_fill_holes(outline) & ~outline


# --- masks ---


@given(
    st.lists(st.tuples(st.integers(-4, 20), st.integers(-4, 20)), min_size=1, max_size=12),
    st.tuples(st.integers(1, 18), st.integers(1, 18)),
)
def test_even_odd_of_outlines_that_cross_themselves(corners, shape):
    points = np.array(corners)
    inside, edge = np.zeros(shape, bool), np.zeros(shape, bool)
    inside[polygon(points[:, 1], points[:, 0], shape)] = True
    for start, end in zip(np.roll(points, 1, axis=0), points, strict=True):
        for row, column in zip(*line(*start[::-1].tolist(), *end[::-1].tolist()), strict=True):
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                edge[row, column] = True
    np.testing.assert_array_equal(contour_mask(points, shape), inside & ~edge)
    np.testing.assert_array_equal(contour_mask(points, shape, outline=True), inside | edge)


@given(
    radii=st.lists(st.floats(4, 25), min_size=5, max_size=9),
    centre=st.tuples(st.integers(27, 36), st.integers(27, 36)),
)
@settings(max_examples=100)
def test_contour_mask_is_what_the_outline_encloses(radii, centre):
    angle = np.linspace(0, 2 * np.pi, 4000)
    knots = np.linspace(0, 2 * np.pi, len(radii) + 1)
    radius = np.interp(angle, knots, [*radii, radii[0]])
    points = np.rint(np.array(centre) + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).astype(int)
    points = points[np.r_[True, (np.diff(points, axis=0) != 0).any(axis=1)]]
    mask = contour_mask(points, SHAPE)
    np.testing.assert_array_equal(mask, enclosed(points, SHAPE))
    assert not (mask & ~filled(points, SHAPE)).any()


def test_the_outline_is_outside_whatever_gaps_its_points_leave():
    mask = contour_mask(square(10, 20, 5), SHAPE)
    expected = np.zeros(SHAPE, bool)
    expected[10:15, 20:25] = True
    np.testing.assert_array_equal(mask, expected)
    expected[9:16, 19:26] = True
    np.testing.assert_array_equal(contour_mask(square(10, 20, 5), SHAPE, outline=True), expected)


@pytest.mark.parametrize("points", [[(5, 5)], [(5, 5), (9, 9)], [(5, 5), (6, 5), (6, 6)]])
def test_nothing_lies_inside_a_point_or_a_line(points):
    assert not contour_mask(np.array(points), SHAPE).any()


def test_outlines_beyond_the_picture_are_cut_off():
    mask = contour_mask(square(60, -3, 8), SHAPE)
    assert mask.sum() == 4 * 5
    assert mask[60:, :5].all()


def test_excluded_regions_are_taken_away_with_their_outline():
    outer = Contour("uid", 1.0, True, square(10, 10, 20))
    hole = Contour("uid", 1.0, False, square(15, 15, 4))
    for contours in itertools.permutations([outer, hole]):  # the order in the file does not matter
        patch = mark_masks(Mark(0, contours, {}), SHAPE)["uid"]
        assert patch.box == (10, 10, 30, 30)
        assert patch.inside.sum() == 20 * 20 - 6 * 6
        assert not patch.inside[4:10, 4:10].any()


# --- joining ---


def test_marks_that_share_a_voxel_are_one_nodule():
    marks = [mark(0, (10, 10, 5, 1.0)), mark(1, (14, 14, 5, 1.0)), mark(3, (18, 18, 5, 1.0), (18, 18, 7, 2.5))]
    (nodule,) = join_marks(marks, SHAPE)  # the first and last meet only through the second
    assert nodule.readers == 3
    assert nodule.box("uid1.0") == (10, 10, 23, 23)
    assert nodule.areas() == {"uid1.0": 3 * 25 - 2, "uid2.5": 49}
    assert nodule.z("uid2.5") == 2.5
    expected = np.zeros(SHAPE, bool)
    for k in (10, 14, 18):
        expected[k : k + 5, k : k + 5] = True
    np.testing.assert_array_equal(nodule.masks["uid1.0"], expected)


@pytest.mark.parametrize("second", [(10, 15, 5, 1.0), (15, 15, 5, 1.0), (10, 10, 5, 2.0)])
def test_marks_that_only_touch_or_lie_on_other_slices_stay_apart(second):
    nodules = join_marks([mark(0, (10, 10, 5, 1.0)), mark(1, second)], SHAPE)
    assert [nodule.readers for nodule in nodules] == [1, 1]


def test_boxes_that_overlap_do_not_make_masks_overlap():
    triangles = [np.array([(5, 5), (30, 5), (5, 30)]), np.array([(32, 32), (32, 8), (8, 32)])]
    marks = [Mark(k, (Contour("u", 0.0, True, points),), {}) for k, points in enumerate(triangles)]
    first, second = (mark_masks(one, SHAPE)["u"].box for one in marks)
    assert first[2] > second[0]
    assert len(join_marks(marks, SHAPE)) == 2


def test_a_reader_counts_once_and_small_marks_do_not():
    point = Mark(2, (Contour("uid1.0", 1.0, True, np.array([(12, 12)])),), {})
    marks = [mark(1, (10, 10, 5, 1.0)), mark(1, (12, 12, 5, 1.0)), point]
    assert not point.is_large
    (nodule,) = join_marks(marks, SHAPE)
    assert nodule.readers == 1
    assert join_marks([point], SHAPE) == []


@given(st.permutations(range(6)))
@settings(max_examples=30)
def test_the_order_of_the_marks_does_not_matter(order):
    places = [(30, 30, 6, 5.0), (10, 10, 6, 5.0), (12, 8, 6, 5.0), (10, 40, 6, -2.0), (33, 30, 6, 5.0), (50, 5, 3, 5.0)]
    marks = [mark(k % 4, place) for k, place in enumerate(places)]
    nodules = join_marks([marks[k] for k in order], SHAPE)
    assert [[nodule.z(uid) for uid in nodule.masks] for nodule in nodules] == [[-2], [5], [5], [5]]
    assert [next(iter(nodule.areas())) for nodule in nodules] == ["uid-2.0", "uid5.0", "uid5.0", "uid5.0"]
    assert [nodule.box(next(iter(nodule.masks)))[0] for nodule in nodules] == [10, 10, 30, 50]


def test_slice_rules():
    squares = [(10, 10, 6, 7.5), (10, 10, 4, 2.5), (10, 10, 6, 5.0), (10, 10, 3, 10.0)]
    (nodule,) = join_marks([mark(0, *squares)], SHAPE)
    assert slices(nodule) == slices(nodule, "largest") == ["uid5.0"]  # as large as 7.5, but lower
    assert slices(nodule, "all") == ["uid2.5", "uid5.0", "uid7.5", "uid10.0"]
    with pytest.raises(ValueError, match="largest"):
        slices(nodule, "biggest")  # type: ignore[arg-type]


# --- crops ---


@given(
    rows=st.integers(1, 50),
    columns=st.integers(1, 50),
    corner=st.tuples(st.integers(0, 49), st.integers(0, 49)),
    size=st.integers(1, 40),
)
@settings(max_examples=100)
def test_crop_is_a_window_of_the_padded_picture(rows, columns, corner, size):
    image = np.arange(rows * columns, dtype=np.int16).reshape(rows, columns)
    row, column = corner[0] % rows, corner[1] % columns
    box = (row, column, min(row + 5, rows), min(column + 2, columns))
    cut = crop(image, box, size, fill=-1000)
    assert cut.shape == (size, size)
    assert cut.dtype == np.int16
    padded = np.pad(image, size, constant_values=-1000)
    top, left = (box[0] + box[2]) // 2 + size - size // 2, (box[1] + box[3]) // 2 + size - size // 2
    np.testing.assert_array_equal(cut, padded[top : top + size, left : left + size])
    assert (
        cut[size // 2, size // 2] == image[min((box[0] + box[2]) // 2, rows - 1), (box[1] + box[3]) // 2]
        or (box[0] + box[2]) // 2 >= rows
    )


def test_crop_centres_the_default_square():
    image = np.zeros((512, 512), np.float32)
    image[300:311, 200:221] = 1
    cut = crop(image, (300, 200, 311, 221))
    assert cut.shape == (224, 224)
    rows, columns = np.nonzero(cut)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (107, 117, 102, 122)
    cut[:] = 5
    assert image.max() == 1  # a copy


# --- XML ---

ROI = """<roi><imageZposition>{z} </imageZposition><imageSOP_UID>9.8.{z}</imageSOP_UID><inclusion>TRUE</inclusion>
{points}</roi>"""
EDGES = [
    f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in [(3, 4), (3, 14), (13, 14), (13, 4)]
]
POINTS = "".join(EDGES)
DOCUMENT = f"""<?xml version="1.0" encoding="UTF-8"?>
<LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader><SeriesInstanceUid>9.8.7 </SeriesInstanceUid>
</ResponseHeader><readingSession><unblindedReadNodule><noduleID>1</noduleID><characteristics><subtlety>5</subtlety>
<margin></margin></characteristics>{ROI.format(z="-2.5", points=POINTS)}{ROI.format(z="0", points=POINTS)}
</unblindedReadNodule><nonNodule><nonNoduleID>2</nonNoduleID><imageZposition>4</imageZposition><imageSOP_UID>9.8.4
</imageSOP_UID><locus><xCoord>3</xCoord><yCoord>3</yCoord></locus></nonNodule></readingSession><readingSession>
<unblindedReadNodule><noduleID>7</noduleID>{ROI.format(z="5", points=EDGES[0])}</unblindedReadNodule>
</readingSession></LidcReadMessage>"""


@pytest.fixture
def xml(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "9.8.7.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("namespace", ["default", "none", "prefix"])
def test_read_xml(xml, namespace):
    text = DOCUMENT
    if namespace == "none":
        text = text.replace(' xmlns="http://www.nih.gov"', "")
    if namespace == "prefix":
        text = re.sub(r"<(/?)(?=[A-Za-z])", r"<\1n:", text).replace("xmlns=", "xmlns:n=")
    annotation = read_xml(xml(text))
    assert annotation.series_uid == "9.8.7"
    first, second = annotation.marks
    assert (first.reader, first.characteristics, first.is_large) == (0, {"subtlety": 5}, True)
    assert [(one.z, one.inclusion, one.sop_uid) for one in first.contours] == [
        (-2.5, True, "9.8.-2.5"),
        (0, True, "9.8.0"),
    ]
    assert first.contours[0].points.tolist() == [[3, 4], [3, 14], [13, 14], [13, 4]]
    assert (second.reader, second.is_large, len(second.contours)) == (1, False, 1)
    assert "9.8" not in repr(annotation)


def test_x_ray_annotations_are_none(xml):
    assert read_xml(xml('<IdriReadMessage xmlns="http://www.nih.gov"><a/></IdriReadMessage>')) is None


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("</LidcReadMessage>", "", "not well-formed XML"),
        ("<roi>", "<roi", "not well-formed XML"),
        ("LidcReadMessage", "html", "not an LIDC annotation"),
        ("UTF-8", "klingon", "not well-formed XML"),
        ("UTF-8", "UTF-16", "not well-formed XML"),
        ("<LidcReadMessage ", '<!DOCTYPE a [<!ENTITY b "c">]><LidcReadMessage ', "document type"),
        ("<noduleID>", "<a>" * 40 + "</a>" * 40 + "<noduleID>", "nested too deeply"),
        ("<xCoord>3<", "<xCoord>three<", "not a number"),
        ("<xCoord>3<", "<xCoord>99999<", "not between 0 and 4095"),
        ("<xCoord>3<", "<xCoord>-1<", "not between 0 and 4095"),
        ("<yCoord>4</yCoord>", "", "without yCoord"),
        ("-2.5 <", "nan<", "z position not finite"),
        ("<inclusion>TRUE", "<inclusion>MAYBE", "neither TRUE nor FALSE"),
        ("<imageSOP_UID>9.8.0<", "<imageSOP_UID><", "without imageSOP_UID"),
        (POINTS, "", "without a point"),
        ("<subtlety>5<", "<subtlety>high<", "rating is not a whole number"),
    ],
)
def test_bad_files_say_why_and_name_nobody(xml, old, new, reason):
    assert old in DOCUMENT
    with pytest.raises(BadFileError, match=reason) as caught:
        read_xml(xml(DOCUMENT.replace(old, new)))
    assert "9.8" not in str(caught.value)
    assert "/" not in str(caught.value)


def test_an_absent_file_is_a_bad_file(tmp_path):
    with pytest.raises(BadFileError, match="cannot be read"):
        read_xml(tmp_path / "none.xml")


def test_entities_are_never_expanded(xml):
    bomb = '<!DOCTYPE l [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + k)} "{f"&{chr(97 + k)};" * 10}">' for k in range(12)
    )
    with pytest.raises(BadFileError, match="document type"):
        read_xml(xml(f"{bomb}]><LidcReadMessage>&m;</LidcReadMessage>"))


@given(st.data())
@settings(deadline=2000, max_examples=150)
def test_damaged_xml_never_crashes(tmp_path_factory, data):
    content = bytearray(DOCUMENT.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path_factory.getbasetemp() / "damaged.xml"
    path.write_bytes(content)
    try:
        annotation = read_xml(path)
    except BadFileError:
        return
    for nodule in join_marks(annotation.marks if annotation else [], SHAPE):
        assert nodule.masks


# --- together with the series ---


def test_missing_slices_are_told_by_position(tmp_path, save_series):
    zeros = np.zeros((4, 64, 64), np.int16)
    paths = save_series(tmp_path, zeros)
    for k, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = f"1.2.{k}"
        ds.save_as(path)
    (series,) = scan(tmp_path).series
    contours = tuple(Contour(uid, z, True, square(5, 5, 5)) for uid, z in [("1.2.1", 2.0), ("1.9", 9.5), ("1.8", -4.0)])
    large = Mark(0, contours, {})
    small = Mark(1, (Contour("1.7", 3.0, True, np.array([(5, 5)])),), {})
    assert missing_slices(Annotation("", (large, small)), series) == (-4.0, 9.5)
    assert missing_slices(Annotation("", (small,)), series) == ()
    nodules = join_marks([large, small], SHAPE)
    assert sorted(missing_slices(nodule, series) for nodule in nodules) == [(-4.0, 9.5)]


def test_of_slices_at_one_position_the_lower_instance_number_wins(tmp_path, save):
    numbers = {"a": (0.0, 5), "b": (2.0, 9), "c": (2.0004, 3), "d": (4.0, None), "e": (4.0, 12), "f": (6.0, 1)}
    for name, (z, number) in numbers.items():
        zeros = np.zeros((4, 4), np.int16)
        save(tmp_path / name, zeros, ImagePositionPatient=[0, 0, z], InstanceNumber=number)
    (series,) = scan(tmp_path).series
    assert [header.path.name for header in unique_positions(series).headers] == ["a", "c", "e", "f"]


# --- a real case ---


@pytest.fixture(scope="session")
def case(shared_data) -> Path:
    return shared_data / "lidc/LIDC-IDRI/LIDC-IDRI-0001"


def outlines(case: Path) -> list[list[tuple[str, float, NDArray[np.int64]]]]:
    """(slice, z, points) of every outlined nodule, read by regular expressions alone."""
    (path,) = case.rglob("*.xml")
    found = []
    for nodule in re.findall(r"<unblindedReadNodule>(.*?)</unblindedReadNodule>", path.read_text(), re.S):
        rois = re.findall(r"<imageZposition>(.*?)<.*?<imageSOP_UID>(.*?)<.*?(<edgeMap>.*?)</roi>", nodule, re.S)
        points = [np.array(re.findall(r"<xCoord>(\d+)</xCoord>\s*<yCoord>(\d+)", roi[2]), int) for roi in rois]
        if len(points[0]) > 1:
            found.append([(uid.strip(), float(z), own) for (z, uid, _), own in zip(rois, points, strict=True)])
    return found


def test_real_nodule_is_one_and_agrees_with_the_outlines_to_the_pixel(case):
    readers = outlines(case)
    assert len(readers) == 4
    expected: dict[str, NDArray[np.bool_]] = {}
    boxes: dict[str, NDArray[np.bool_]] = {}
    positions = {}
    for uid, z, points in itertools.chain.from_iterable(readers):
        expected[uid] = expected.get(uid, False) | enclosed(points, (512, 512))
        boxes[uid] = boxes.get(uid, False) | filled(points, (512, 512))
        positions[uid] = z
    (path,) = case.rglob("*.xml")
    (nodule,) = join_marks(read_xml(path).marks, (512, 512))
    assert nodule.readers == 4
    assert set(nodule.masks) == {uid for uid, mask in expected.items() if mask.any()}
    for uid, mask in nodule.masks.items():
        np.testing.assert_array_equal(mask, expected[uid])
        rows, columns = np.nonzero(boxes[uid])
        assert nodule.box(uid) == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        assert nodule.z(uid) == positions[uid]
    (largest,) = slices(nodule)
    assert expected[largest].sum() == max(mask.sum() for mask in expected.values())


def test_real_outlines_lie_on_the_slices_they_name(case):
    (series,) = scan(case, modality="CT").series
    (path,) = case.rglob("*.xml")
    annotation = read_xml(path)
    assert annotation.series_uid == series.uid
    assert missing_slices(annotation, series) == ()
    offsets = {header.sop_uid: header.offset for header in series.headers}
    for uid, z, _ in itertools.chain.from_iterable(outlines(case)):
        assert offsets[uid] == pytest.approx(z)
    (nodule,) = join_marks(annotation.marks, (512, 512))
    assert nodule.z(slices(nodule)[0]) in missing_slices(
        nodule, type(series)("CT", None, tuple(h for h in series.headers if h.sop_uid != slices(nodule)[0]))
    )
