"""Grey ranges against numpy's percentiles, to the last bit, however the voxels lie in memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medtl.readers import intensity
from medtl.transforms import key_slice

SHAPES = arrays.array_shapes(min_dims=3, max_dims=3, max_side=6)
VOLUMES = st.sampled_from(["i1", "u1", "<i2", ">i2", "u2", "i4", "f4"]).flatmap(
    lambda dtype: arrays.arrays(dtype, SHAPES, elements=st.integers(-100 if dtype.lstrip("<>")[0] in "if" else 0, 120))
)
TURNS = st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([1, -1, 2, -3])] * 3))


def turned(volume: np.ndarray, turn: tuple[list[int], tuple[int, ...]]) -> np.ndarray:
    axes, steps = turn
    return volume.transpose(axes)[tuple(slice(None, None, step) for step in steps)]


@given(VOLUMES, TURNS, st.floats(0, 50), st.floats(50, 100))
def test_range_is_numpys_percentiles_of_what_is_not_zero(volume, turn, lower, upper):
    view = turned(volume, turn)
    values = view[view != 0]
    exact = values if values.dtype.kind == "f" else values.astype(np.int64)  # numpy subtracts in the type it is given
    expected = tuple(np.percentile(exact, (lower, upper)).tolist()) if values.size else (0, 0)
    assert intensity.mr_range(view, lower, upper) == expected


@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
def test_range_of_numbers_as_large_as_they_get(dtype):
    ends = np.iinfo(dtype)
    volume = np.array([ends.min, ends.max, 1, ends.max - 1], dtype)
    expected = np.percentile(volume[volume != 0].astype(np.int64), (10, 90))
    assert intensity.mr_range(volume, 10, 90) == tuple(expected)


def test_range_of_more_numbers_than_are_counted_at_a_time():
    volume = np.random.default_rng(2).normal(300, 90, 3 * intensity.CHUNK + 17).astype(np.int16)
    volume[: intensity.CHUNK] = 0
    assert intensity.mr_range(volume) == tuple(np.percentile(volume[volume != 0], (0.5, 99.5)))


@given(VOLUMES, TURNS, st.integers(-3, 2))
def test_areas_do_not_depend_on_how_the_mask_lies_in_memory(volume, turn, axis):
    view = turned(volume, turn)
    expected = [int((one > 0).sum()) for one in np.moveaxis(view, axis, 0)]
    assert key_slice.slice_areas(view, axis).tolist() == expected


@given(VOLUMES, TURNS)
def test_memory_order_is_the_same_elements(volume, turn):
    view = turned(volume, turn)
    ordered = intensity.in_memory_order(view)
    assert sorted(ordered.ravel().tolist()) == sorted(view.ravel().tolist())
    assert np.shares_memory(ordered, view)
    strides = [stride for stride, size in zip(ordered.strides, ordered.shape, strict=True) if size > 1]
    assert strides == sorted(strides, reverse=True)
    assert min(strides, default=1) > 0
