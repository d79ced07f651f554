"""Augmentation and normalisation of whole batches on the device, each image by random numbers of its own.

What happens to an image depends on (seed, epoch, index) alone: not on the batch it travels in, the number of processes
or the device.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from medtl.cards import IMAGENET_MEAN, IMAGENET_STD
from medtl.errors import UsageError
from medtl.transforms.counter import gaussian, random_bits, uniform

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# One column of random numbers for each use, so that switching one kind of augmentation on leaves the others as they are
FLIP, ROTATE, SCALE, TRANSLATE, CROP, BRIGHTNESS, CONTRAST, GAMMA, ERASE, NOISE, PARTNER, WEIGHT = (
    0, 1, 2, 4, 6, 10, 11, 12, 13, 18, 19, 20,
)  # fmt: skip
COLUMNS = 21

PIECE = 8  # images a CPU handles at a time


@dataclass(frozen=True)
class BatchTransform:
    """Images (n, 1 or 3, rows, columns), uint8, to what the network takes: (n, 3, rows, columns), normalised.

    The defaults are the bundles' augmentation: a mirror image in half of the cases, then rotation, zoom and shift with
    bilinear interpolation and zeros outside, like MONAI's RandFlip and RandAffine. All geometry is one resampling. A
    range of r draws evenly from -r to r (zoom, brightness, contrast: a factor 1 - r to 1 + r); 0 switches it off.

    Args:
        flip: probability of left and right being exchanged.
        rotate: range in radians.
        scale: range of the zoom, for rows and columns apart.
        translate: range of the shift, as a share of the side length, for rows and columns apart.
        crop: smallest share of the area that a random resized crop keeps; 1 takes no crop.
        crop_ratio: the crop's sides differ at most by this factor.
        brightness: range of a factor on the grey values.
        contrast: range of a factor on the distance from the image's mean.
        gamma: range g: grey values 0..1 to the power of exp(-g) to exp(g).
        noise: standard deviation of Gaussian noise, as a share of the grey range.
        erase: probability of a rectangle of 2 to 20 % of the area being blackened.
        mean, std: of each of the three channels, for grey values 0..1.
        dtype: float32, bfloat16 or float16, of the result.
        channels_last: memory format of the result.
        seed: of all random numbers.

    Raises:
        UsageError: a parameter that cannot be.
    """

    flip: float = 0.5
    rotate: float = 0.15
    scale: float = 0.1
    translate: float = 0.05
    crop: float = 1.0
    crop_ratio: float = 4 / 3
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    erase: float = 0.0
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    dtype: str = "float32"
    channels_last: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} {getattr(self, name)}: expected a probability from 0 to 1")
        for name in ("scale", "brightness", "contrast"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: expected a range from 0 to below 1")
        for name in ("rotate", "translate", "gamma", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} {getattr(self, name)}: expected a range of at least 0")
        if not 0 < self.crop <= 1 or not self.crop_ratio >= 1:
            raise UsageError(f"crop {self.crop} must lie above 0 and up to 1, crop_ratio {self.crop_ratio} from 1 on")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise UsageError("mean and std: expected three numbers each, std above 0")

    def __call__(self, image: Tensor, index: Tensor, epoch: int = 0) -> Tensor:
        """Augmented and normalised images (n, 3, rows, columns).

        Args:
            image: (n, 1 or 3, rows, columns), uint8.
            index: the images' places in their split (n,), int64, on the images' device.
            epoch: from 0.
        """
        shape = (len(image), *image.shape[-2:], 3)
        result = torch.empty(shape, dtype=DTYPES[self.dtype], device=image.device).permute(0, 3, 1, 2)
        if not self.channels_last:
            result = torch.empty_like(result, memory_format=torch.contiguous_format)
        bits = random_bits(index, self.seed, epoch, COLUMNS) if self.is_random else index[:, None]
        matrices = self.matrices(uniform(bits), *image.shape[-2:]).float() if self._geometric else None
        # a CPU works in pieces that stay in its cache; a GPU takes all at once
        piece = PIECE if image.device.type == "cpu" else max(1, len(image))
        for start in range(0, len(image), piece):
            part = slice(start, start + piece)
            values = image[part].float()
            if matrices is not None:
                places = sampling_grid(matrices[part], *values.shape[-2:])
                values = torch.nn.functional.grid_sample(values, places, "bilinear", "zeros", align_corners=False)
            normalise(self._changed(values, bits[part]), self.mean, self.std, result[part])
        return result

    @property
    def _geometric(self) -> bool:
        return any((self.flip, self.rotate, self.scale, self.translate, self.crop < 1))

    @property
    def _grey(self) -> bool:
        return any((self.brightness, self.contrast, self.gamma, self.noise, self.erase))

    @property
    def is_random(self) -> bool:
        """Return whether a picture comes out otherwise in another epoch."""
        return self._geometric or self._grey

    def matrices(self, numbers: Tensor, rows: int, columns: int) -> Tensor:
        """Return where each output pixel is taken from: (n, 2, 3), float64, (x, y, 1) to (x, y), all from -1 to 1
        between the image's outer edges.

        As in MONAI's AffineGrid the output pixel is zoomed, shifted and rotated about the centre, in pixels.

        Args:
            numbers: from ``uniform`` (n, COLUMNS).
            rows, columns: of the images.
        """
        signed = 2 * numbers - 1
        cos, sin = torch.cos(self.rotate * signed[:, ROTATE]), torch.sin(self.rotate * signed[:, ROTATE])
        zoom = 1 + self.scale * signed[:, SCALE : SCALE + 2]
        shift = self.translate * signed[:, TRANSLATE : TRANSLATE + 2] * _constants((rows, columns), numbers.device)
        # in pixels from the centre, rows first: source = rotation (zoom * place + shift)
        rotation = torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)
        linear, offset = rotation * zoom[:, None], (rotation * shift[:, None]).sum(2)
        if self.crop < 1:
            side, centre = self._window(numbers, rows, columns)
            linear, offset = linear * side[:, :, None], offset * side + centre
        mirror = 1 - 2 * (numbers[:, FLIP] < self.flip).double()
        aspect = rows / columns
        across = torch.stack((linear[:, 1, 1], linear[:, 1, 0] * aspect, offset[:, 1] * (2 / columns)), 1)
        down = torch.stack((linear[:, 0, 1] / aspect, linear[:, 0, 0], offset[:, 0] * (2 / rows)), 1)
        return torch.stack((across * mirror[:, None], down), 1)

    def _window(self, numbers: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Sides of the crop as shares of the image's and its centre in pixels from the image's, both (n, 2)."""
        area = self.crop + (1 - self.crop) * numbers[:, CROP]
        ratio = torch.exp(math.log(self.crop_ratio) * (2 * numbers[:, CROP + 1] - 1))
        side = torch.stack((torch.sqrt(area * ratio), torch.sqrt(area / ratio)), 1).clamp(max=1)
        # where the longer side was cut off the other one makes up for it
        side = torch.maximum(side, (self.crop / side.flip(1)).clamp(max=1))
        room = (1 - side) * _constants((rows, columns), numbers.device)
        return side, room * (numbers[:, CROP + 2 : CROP + 4] - 0.5)

    def _changed(self, values: Tensor, bits: Tensor) -> Tensor:
        if not self._grey:
            return values
        numbers = uniform(bits)
        values = self._intensity(values, numbers)
        if self.noise:
            values = values + 255 * self.noise * gaussian(bits[:, NOISE], values.shape[1:])
        if self.erase:
            values = values * self._kept(numbers, values.shape[-2], values.shape[-1])
        return values

    def _intensity(self, values: Tensor, numbers: Tensor) -> Tensor:
        def drawn(column: int) -> Tensor:
            return (2 * numbers[:, column] - 1).float()[:, None, None, None]

        if self.contrast:
            mean = values.mean((1, 2, 3), keepdim=True)
            values = mean + (values - mean) * (1 + self.contrast * drawn(CONTRAST))
        if self.brightness:
            values = values * (1 + self.brightness * drawn(BRIGHTNESS))
        if self.gamma:
            values = 255 * (values / 255).clamp(0, 1) ** torch.exp(self.gamma * drawn(GAMMA))
        return values.clamp(0, 255) if self.contrast or self.brightness else values

    def _kept(self, numbers: Tensor, rows: int, columns: int) -> Tensor:
        """1 outside of the erased rectangle and 0 inside (n, 1, rows, columns)."""
        area = 0.02 + 0.18 * numbers[:, ERASE + 1]
        ratio = torch.exp(math.log(2) * (2 * numbers[:, ERASE + 2] - 1))
        inside = (numbers[:, ERASE] < self.erase)[:, None, None]
        for length, side, drawn, shape in (
            (rows, torch.sqrt(area * ratio), numbers[:, ERASE + 3], (1, -1, 1)),
            (columns, torch.sqrt(area / ratio), numbers[:, ERASE + 4], (1, 1, -1)),
        ):
            place = ((torch.arange(length, device=numbers.device) + 0.5) / length).view(shape)
            start = ((1 - side) * drawn)[:, None, None]
            inside = inside & (place >= start) & (place < start + side[:, None, None])
        return (~inside)[:, None].float()


def normalisation(**parameters: Any) -> BatchTransform:
    """Return a BatchTransform without any augmentation, for validation: channels repeated and normalised only.

    Args:
        parameters: mean, std, dtype and channels_last, as of BatchTransform.
    """
    return replace(BatchTransform(**parameters), flip=0, rotate=0, scale=0, translate=0)


def sampling_grid(matrices: Tensor, rows: int, columns: int) -> Tensor:
    """Return ``torch.nn.functional.affine_grid(align_corners=False)`` by plain multiplication: ten times as fast on a
    CPU, and on a GPU without the rounding of TF32 matrix products, which would move pixels.

    Args:
        matrices: (n, 2, 3), float32.
        rows, columns: of the images.

    Returns:
        (n, rows, columns, 2), x and y from -1 to 1.
    """
    x, y = (_centres(count, matrices.device)[:, None] for count in (columns, rows))
    by_x, by_y, offset = matrices.transpose(1, 2)[:, :, None].unbind(1)
    # pairs as complex numbers: one addition over contiguous memory
    along, down = torch.view_as_complex(x * by_x), torch.view_as_complex(y * by_y + offset)
    return torch.view_as_real(along[:, None, :] + down[:, :, None])


@functools.lru_cache(maxsize=16)
def _centres(count: int, device: torch.device) -> Tensor:
    """Pixel centres from -1 to 1 between the outer edges."""
    return (2 * torch.arange(count, device=device, dtype=torch.float32) + 1) / count - 1


@functools.lru_cache(maxsize=16)
def _constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers kept on the device, float64: a copy for each batch would wait for it."""
    return torch.tensor(values, device=device, dtype=torch.float64)


def normalise(values: Tensor, mean: tuple[float, ...], std: tuple[float, ...], result: Tensor) -> None:
    """Return (values / 255 - mean) / std for three channels, grey repeated, in one pass over the memory.

    Args:
        values: (n, 1 or 3, rows, columns), float32, 0..255.
        mean, std: three each, for 0..1.
        result: (n, 3, rows, columns), filled; any float type and memory format.
    """
    factors = tuple(1 / (255 * s) for s in std)
    offsets = tuple(-m / s for m, s in zip(mean, std, strict=True))
    if values.device.type != "cpu":
        by, add = (_constants(v, values.device).float() for v in (factors, offsets))
        torch.addcmul(add[:, None, None], values, by[:, None, None], out=result)
        return
    for channel in range(3):  # one after the other: a CPU is slow at inner loops of three
        source = values[:, channel if values.shape[1] == 3 else 0]
        result[:, channel] = torch.add(torch.tensor(offsets[channel]), source, alpha=factors[channel])
