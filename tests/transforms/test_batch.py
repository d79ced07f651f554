"""Batch augmentation: one image's fate is its own, and the geometry is that of MONAI and of a plain loop."""

import math

import numpy as np
import pytest
import torch
from monai.transforms import Affine, Flip
from scipy import ndimage

from medtl.errors import UsageError
from medtl.transforms import batch as rules
from medtl.transforms.batch import COLUMNS, BatchTransform, normalisation, sampling_grid
from medtl.transforms.counter import random_bits, uniform

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
NO_GEOMETRY = {"flip": 0, "rotate": 0, "scale": 0, "translate": 0}
EVERYTHING = {
    "crop": 0.5, "brightness": 0.2, "contrast": 0.2, "gamma": 0.3, "noise": 0.02, "erase": 0.5,
}  # fmt: skip


def images(count: int, channels: int = 1, rows: int = 24, columns: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, rows, columns), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("options", [{}, EVERYTHING])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_does_not_depend_on_its_batch(options: dict, channels: int) -> None:
    transform = BatchTransform(**options, seed=5)
    data, index = images(19, channels), torch.arange(19) * 7
    whole = transform(data, index, 3)
    order = torch.randperm(19, generator=torch.Generator().manual_seed(1))
    shuffled = torch.cat([transform(data[part], index[part], 3) for part in order.split(4)])
    torch.testing.assert_close(shuffled, whole[order], rtol=1e-6, atol=1e-6)
    assert not torch.allclose(transform(data, index, 4), whole)
    assert not torch.allclose(BatchTransform(**options, seed=6)(data, index, 3), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", [{}, EVERYTHING])
def test_a_gpu_gives_the_same_images(options: dict) -> None:
    transform = BatchTransform(**options)
    data, index = images(8), torch.arange(8)
    bits = random_bits(index.cuda(), 3, 4, COLUMNS)
    assert torch.equal(bits.cpu(), random_bits(index, 3, 4, COLUMNS))
    torch.testing.assert_close(
        transform(data.cuda(), index.cuda(), 2).cpu(), transform(data, index, 2), rtol=1e-3, atol=2e-3
    )


@pytest.mark.parametrize("shape", [(24, 24), (20, 30)])
def test_geometry_is_that_of_monais_flip_and_affine(shape: tuple[int, int]) -> None:
    transform = BatchTransform(**PLAIN, seed=2)
    data, index = images(6, 1, *shape), torch.arange(6)
    found = transform(data, index, 0)
    numbers = uniform(random_bits(index, 2, 0, COLUMNS)).numpy()
    flips = 0
    for k in range(6):
        signed = 2 * numbers[k] - 1
        flipped = numbers[k, rules.FLIP] < 0.5
        flips += flipped
        image = data[k].float() / 255
        image = Flip(1)(image) if flipped else image
        monai = Affine(
            rotate_params=0.15 * signed[rules.ROTATE],
            scale_params=(1 + 0.1 * signed[rules.SCALE : rules.SCALE + 2]).tolist(),
            translate_params=(0.05 * signed[rules.TRANSLATE : rules.TRANSLATE + 2] * shape).tolist(),
            padding_mode="zeros",
            image_only=True,
        )
        expected = np.asarray(monai(image))
        np.testing.assert_allclose(found[k, :1].numpy(), expected, atol=2e-4)
    assert 0 < flips < 6


def test_geometry_with_a_crop_is_that_of_scipy() -> None:
    transform = BatchTransform(**PLAIN, crop=0.3, seed=4)
    rows, columns = 32, 24
    data, index = images(5, 1, rows, columns), torch.arange(5)
    # smooth pictures: scipy treats the outermost pixels differently
    data = torch.nn.functional.avg_pool2d(data.float(), 5, 1, 2).byte()
    found = transform(data, index, 1)[:, 0].numpy()
    numbers = uniform(random_bits(index, 4, 1, COLUMNS)).numpy()
    for k in range(5):
        u, signed = numbers[k], 2 * numbers[k] - 1
        angle = 0.15 * signed[rules.ROTATE]
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        zoom = np.diag(1 + 0.1 * signed[rules.SCALE : rules.SCALE + 2])
        shift = 0.05 * signed[rules.TRANSLATE : rules.TRANSLATE + 2] * (rows, columns)
        area, ratio = 0.3 + 0.7 * u[rules.CROP], (4 / 3) ** signed[rules.CROP + 1]
        side = np.minimum(1, np.sqrt([area * ratio, area / ratio]))
        centre = (1 - side) * (rows, columns) * (u[rules.CROP + 2 : rules.CROP + 4] - 0.5)
        mirror = np.diag([1, -1 if u[rules.FLIP] < 0.5 else 1])
        matrix = mirror @ np.diag(side) @ rotation @ zoom
        offset = mirror @ (np.diag(side) @ rotation @ shift + centre)
        middle = np.array([(rows - 1) / 2, (columns - 1) / 2])
        expected = ndimage.affine_transform(
            data[k, 0].numpy().astype(float), matrix, middle + offset - matrix @ middle, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(found[k] * 255, expected, atol=0.05)


@pytest.mark.parametrize("crop", [0.2, 0.7, 0.8, 0.95])
def test_a_crop_keeps_the_share_that_it_says(crop: float) -> None:
    transform = BatchTransform(**PLAIN, **NO_GEOMETRY, crop=crop)
    matrices = transform.matrices(uniform(random_bits(torch.arange(5000), 1, 0, COLUMNS)), 40, 30)
    across, down = matrices[:, 0, 0], matrices[:, 1, 1]
    assert float((across * down).min()) == pytest.approx(crop, abs=0.01)
    assert (matrices.abs().sum(2) <= 1 + 1e-12).all()  # nothing outside of the picture
    ratio = torch.stack((across / down, down / across))
    assert float(ratio.max()) <= 4 / 3 + 1e-12


def test_the_grid_is_that_of_torch() -> None:
    matrices = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(matrices.double(), (3, 1, 20, 31), align_corners=False)
    torch.testing.assert_close(sampling_grid(matrices, 20, 31).double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_normalisation(channels: int, channels_last: bool, dtype: str) -> None:
    data = images(9, channels)
    found = normalisation(dtype=dtype, channels_last=channels_last)(data, torch.arange(9))
    mean, std = (torch.tensor(v)[:, None, None] for v in (rules.IMAGENET_MEAN, rules.IMAGENET_STD))
    expected = (data.expand(-1, 3, -1, -1).float() / 255 - mean) / std
    assert found.dtype == rules.DTYPES[dtype]
    assert found.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    tolerance = {"float32": 1e-5, "bfloat16": 0.01, "float16": 2e-3}[dtype]
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


def test_the_way_of_a_gpu_normalises_alike() -> None:
    """The fused operation that a GPU takes, on the CPU."""
    values, result = images(3).float(), torch.empty(3, 3, 24, 24, dtype=torch.bfloat16)
    expected = torch.empty_like(result)
    rules.normalise(values, rules.IMAGENET_MEAN, rules.IMAGENET_STD, expected)
    by = torch.tensor([1 / (255 * s) for s in rules.IMAGENET_STD])[:, None, None]
    add = torch.tensor([-m / s for m, s in zip(rules.IMAGENET_MEAN, rules.IMAGENET_STD, strict=True)])[:, None, None]
    torch.addcmul(add, values, by, out=result)
    torch.testing.assert_close(result, expected, rtol=0.01, atol=0.01)


def test_brightness_contrast_and_gamma() -> None:
    data, index = images(4), torch.arange(4)
    signed = 2 * uniform(random_bits(index, 0, 0, COLUMNS)).numpy() - 1
    values = data.numpy()[:, 0] / 255

    def result(**options: float) -> np.ndarray:
        return BatchTransform(**NO_GEOMETRY, **PLAIN, **options)(data, index)[:, 0].numpy()

    def drawn(column: int) -> np.ndarray:
        return signed[:, column, None, None]

    expected = np.clip(values * (1 + 0.4 * drawn(rules.BRIGHTNESS)), 0, 1)
    np.testing.assert_allclose(result(brightness=0.4), expected, atol=1e-5)
    mean = values.mean((1, 2), keepdims=True)
    expected = np.clip(mean + (values - mean) * (1 + 0.4 * drawn(rules.CONTRAST)), 0, 1)
    np.testing.assert_allclose(result(contrast=0.4), expected, atol=1e-5)
    np.testing.assert_allclose(result(gamma=0.5), values ** np.exp(0.5 * drawn(rules.GAMMA)), atol=1e-5)


def test_erasing_takes_a_rectangle() -> None:
    data = torch.full((200, 1, 40, 40), 200, dtype=torch.uint8)
    result = BatchTransform(**NO_GEOMETRY, **PLAIN, erase=0.5)(data, torch.arange(200))[:, 0] == 0
    erased = result.flatten(1).any(1)
    assert 70 < int(erased.sum()) < 130
    for mask in result[erased].numpy():
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert 0.01 < mask.mean() < 0.25


def test_flips_and_ranges_are_those_asked_for() -> None:
    numbers = uniform(random_bits(torch.arange(5000), 0, 0, COLUMNS))
    matrices = BatchTransform().matrices(numbers, 100, 100)
    flipped = matrices[:, 0, 0] < 0
    assert 0.46 < float(flipped.double().mean()) < 0.54
    zoom = matrices[:, :, :2].square().sum(1).sqrt()  # columns' lengths: a rotation keeps them
    assert 0.9 <= float(zoom.min()) < 0.905
    assert 1.095 < float(zoom.max()) <= 1.1
    angle = torch.atan2(matrices[:, 1, 0].abs(), matrices[:, 0, 0].abs())
    assert 0.145 < float(angle.max()) <= 0.1501


@pytest.mark.parametrize(
    "options",
    [{"flip": 2}, {"scale": 1}, {"rotate": -1}, {"crop": 0}, {"dtype": "int8"}, {"std": (1, 0, 1)}, {"mean": (1, 2)}],
)
def test_parameters_that_cannot_be_are_refused(options: dict) -> None:
    with pytest.raises(UsageError):
        BatchTransform(**options)
