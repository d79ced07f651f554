"""Random numbers of (seed, epoch, index, column) alone, the same on CPUs and GPUs to the last bit.

SplitMix64 (Steele, Lea, Flood 2014) is used as a counter-based generator: no state, no order, only integer arithmetic.
"""

import math

import torch
from torch import Tensor

_GOLDEN, _MIX1, _MIX2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = 2**64 - 1


def _signed(value: int) -> int:
    """The int64 with the same bits."""
    value &= _MASK
    return value - 2**64 if value >> 63 else value


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Logical shift to the right; torch's own is arithmetic on int64."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mixed(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64 bits; products wrap."""
    bits = (bits ^ _shifted(bits, 30)) * _signed(_MIX1)
    bits = (bits ^ _shifted(bits, 27)) * _signed(_MIX2)
    return bits ^ _shifted(bits, 31)


def _mixed_number(bits: int) -> int:
    """SplitMix64's finaliser of one number."""
    bits &= _MASK
    bits = ((bits ^ (bits >> 30)) * _MIX1) & _MASK
    bits = ((bits ^ (bits >> 27)) * _MIX2) & _MASK
    return bits ^ (bits >> 31)


def random_bits(index: Tensor, seed: int, epoch: int, columns: int) -> Tensor:
    """Return independent 64-bit numbers (n, columns), int64, that depend on (seed, epoch, index, column) alone.

    Args:
        index: images' places in their split (n,), int64.
        seed: of the run.
        epoch: from 0.
        columns: how many for each image.
    """
    base = _signed(_mixed_number(_mixed_number(seed + _GOLDEN) + (epoch + 1) * _GOLDEN))
    own = _mixed(index * _signed(_GOLDEN) + base)
    return _mixed(own[:, None] + torch.arange(1, columns + 1, device=index.device) * _signed(_GOLDEN))


def uniform(bits: Tensor) -> Tensor:
    """Return numbers from 0 to below 1, float64, from the upper 53 bits."""
    return _shifted(bits, 11).double() * 2.0**-53


def gaussian(bits: Tensor, shape: torch.Size) -> Tensor:
    """Return standard normal numbers (n, *shape), float32, by Box and Muller's method.

    Args:
        bits: one 64-bit number an image (n,), from which all of its own come.
        shape: of one image.
    """
    step = torch.arange(1, math.prod(shape) + 1, device=bits.device) * _signed(_GOLDEN)
    bits = _mixed(bits[:, None] + step)
    radius = torch.sqrt(-2 * torch.log1p(-_shifted(bits, 40).float() * 2.0**-24))
    angle = (bits & 0xFFFFFF).float() * (2 * math.pi * 2.0**-24)
    return (radius * torch.cos(angle)).view(-1, *shape)
