"""Key-slice rules by hand-computed cases and properties; the MONAI transforms on top of them."""

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose

from medtl.errors import MedtlError, UsageError
from medtl.readers import intensity
from medtl.readers.volume import Volume, display
from medtl.transforms import CTWindowd, KeySliced, MRPercentilesd, SlicesToVolumed, key_slice

AREAS = st.lists(st.integers(0, 50), min_size=1, max_size=40)


def test_rules_on_a_hand_made_case() -> None:
    areas = [0, 3, 10, 9, 10, 2, 0]
    assert key_slice.select(areas, "area:0.9").tolist() == [2, 3, 4]
    assert key_slice.select(areas, "area:1").tolist() == [2, 4]
    assert key_slice.select(areas, "largest:1").tolist() == [2]  # of equal areas the lower index
    assert key_slice.select(areas, "largest:3").tolist() == [2, 3, 4]
    assert key_slice.select(areas, "stride:2").tolist() == [1, 3, 5]
    assert key_slice.select(areas, "all").tolist() == [1, 2, 3, 4, 5]


def test_fraction_that_is_met_exactly_counts() -> None:
    # 0.93 * 100 is 93.00000000000001 in floating point
    assert key_slice.by_area([93, 100], 0.93).tolist() == [0, 1]


@given(AREAS, st.floats(0.01, 1))
def test_area_rule_takes_exactly_the_large_ones(areas: list[int], fraction: float) -> None:
    chosen = set(key_slice.by_area(areas, fraction).tolist())
    for index, area in enumerate(areas):
        if area > fraction * max(areas) * (1 + 1e-9) and area > 0:
            assert index in chosen
        if area < fraction * max(areas) * (1 - 1e-9) or area == 0:
            assert index not in chosen


@given(AREAS, st.integers(1, 50))
def test_largest_are_no_smaller_than_the_rest(areas: list[int], k: int) -> None:
    chosen = key_slice.largest(areas, k).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(k, sum(area > 0 for area in areas))
    rest = [area for index, area in enumerate(areas) if index not in chosen]
    assert not chosen or not rest or min(areas[index] for index in chosen) >= max(rest)


@pytest.mark.parametrize(
    "rule", ["", "area", "area:x", "area:0", "area:1.1", "largest:0", "stride:0", "best:3", "all:1"]
)
def test_wrong_rule_is_told(rule: str) -> None:
    with pytest.raises(UsageError, match="key-slice rule"):
        key_slice.select([1, 2], rule)


def test_areas_count_any_label_along_any_axis() -> None:
    mask = np.zeros((4, 5, 3), dtype=np.uint8)
    mask[0, 0, 1] = 1
    mask[1, :, 1] = 7
    assert key_slice.slice_areas(mask).tolist() == [0, 6, 0]
    assert key_slice.slice_areas(mask, axis=0).tolist() == [1, 5, 0, 0]


def case() -> dict:
    mask = torch.zeros(1, 6, 5, 4)
    mask[0, 1:3, 1:4, 1] = 1
    mask[0, 1:5, 1:4, 2] = 2
    image = MetaTensor(
        torch.arange(2 * 6 * 5 * 4, dtype=torch.float32).reshape(2, 6, 5, 4), meta={"affine": torch.eye(4)}
    )
    return {"image": image, "label": mask, "patient": "set/1"}


def test_key_sliced_gives_the_slices_and_where_they_were() -> None:
    data = case()
    pictures = KeySliced(["image", "label"], mask_key="label", rule="all")(data)
    assert [picture["key_slice"] for picture in pictures] == [1, 2]
    for picture in pictures:
        index = picture["key_slice"]
        assert torch.equal(picture["image"].as_tensor(), data["image"].as_tensor()[..., index])
        assert torch.equal(picture["label"], data["label"][..., index])
        assert picture["image"].meta["key_slice"] == index
        assert picture["key_slice_depth"] == 4
        assert picture["patient"] == "set/1"
    assert "key_slice" not in data["image"].meta


def test_key_sliced_flattens_in_a_monai_dataset_pipeline() -> None:
    scaled = Compose([KeySliced(["image", "label"], rule="all"), MRPercentilesd("image")])(case())
    assert len(scaled) == 2
    assert scaled[0]["image"].shape == (2, 6, 5)
    assert scaled[0]["image"].dtype == np.uint8


@given(st.integers(1, 8), st.randoms())
def test_slices_go_back_where_they_came_from(depth: int, random: object) -> None:
    volume = np.random.default_rng(depth).random((1, 3, 2, depth))
    chosen = sorted(random.sample(range(depth), random.randint(1, depth)))  # type: ignore[attr-defined]
    mask = np.zeros((1, 3, 2, depth))
    mask[..., chosen] = 1
    pictures = KeySliced("image", mask_key="mask", rule="all")({"image": volume, "mask": mask})
    random.shuffle(pictures)  # type: ignore[attr-defined]
    back = SlicesToVolumed("image", fill=-1)(pictures)
    assert np.array_equal(back["image"], np.where(mask > 0, volume, -1))
    assert "key_slice" not in back


def test_empty_mask_and_unequal_depth_are_told() -> None:
    data = case()
    with pytest.raises(MedtlError, match="marks nothing"):
        KeySliced("image")({**data, "label": data["label"] * 0})
    with pytest.raises(MedtlError, match="'image' has 3 slices, 'label' has 4"):
        KeySliced("image")({**data, "image": data["image"][..., :3]})


def test_window_by_hand() -> None:
    hu = np.array([-2000, -1350, -600, 150, 3000])
    assert intensity.ct_window(hu, -600, 1500).tolist() == [0, 0, 128, 255, 255]
    assert CTWindowd("image", -600, 1500)({"image": hu})["image"].tolist() == [0, 0, 128, 255, 255]


def test_mr_percentiles_ignore_the_background() -> None:
    volume = np.zeros((20, 20, 20))
    volume[:5, :10, :10] = np.arange(500).reshape(5, 10, 10) + 100
    low, high = intensity.mr_range(volume)
    assert (low, high) == (pytest.approx(100 + 499 * 0.005), pytest.approx(100 + 499 * 0.995))
    assert intensity.scale(volume, low, high)[10, 10, 10] == 0
    assert intensity.mr_range(np.zeros((3, 3))) == (0, 0)
    assert intensity.scale(np.ones((2, 2)), 0, 0).max() == 0


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SRA", "ASL"])
def test_display_puts_front_up_and_right_left_whatever_the_file(axes: str) -> None:
    """A voxel at a known place in the patient must land where a radiologist expects it."""
    ras = np.zeros((8, 10, 6))
    ras[6, 9, 3] = 1  # far to the patient's right, at the very front, slice 3 from the feet
    stored = nib.as_closest_canonical(nib.Nifti1Image(ras, np.eye(4))).as_reoriented(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    )
    volume = Volume(np.asarray(stored.dataobj), stored.affine).canonical()
    picture = display(volume.array[:, :, 3])
    assert picture.shape == (10, 8)
    assert np.argwhere(picture == 1).tolist() == [[0, 1]]
