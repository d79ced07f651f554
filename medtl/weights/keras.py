"""Keras's weight files (HDF5): each layer's tensors under its name, in torch's order of axes. Needs h5py."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from medtl.errors import BadFileError, MedtlError, UsageError
from medtl.limits import check_growth

MARK = b"\x89HDF"
NAMES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "bias": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# rows, columns, in, out to out, in, rows, columns; of a depthwise one rows, columns, channels, 1
AXES = {("kernel", 4): (3, 2, 0, 1), ("depthwise_kernel", 4): (2, 3, 0, 1), ("kernel", 2): (1, 0)}


def read(source: Path | io.BytesIO, where: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file that Keras 2 wrote, or Keras 3 as ``.h5``: ``LAYER.weight``, ``LAYER.bias``,
    ``LAYER.running_mean``, ``LAYER.running_var``.

    A slash in a layer's name, as early versions wrote (``conv1/bn``), becomes ``_``, as later ones do.

    Args:
        source: the file, or its bytes.
        where: what errors name.

    Raises:
        UsageError: h5py is not installed.
        MedtlError: the file is damaged, of another kind, or grows beyond all reason.
    """
    try:
        import h5py
    except ImportError:
        raise UsageError(
            f"{where} is an HDF5 file, as Keras writes them; reading it needs h5py: pip install 'medtl[keras]'"
        ) from None
    stored = len(source.getvalue()) if isinstance(source, io.BytesIO) else source.stat().st_size
    try:
        with h5py.File(source, "r") as file:
            root = file.get("model_weights", file)
            check_growth(stored, sum(root[layer][path].nbytes for layer, path in _paths(root)))
            found = _tensors(root)
    except BadFileError as error:
        raise MedtlError(f"{where} {error}") from None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise MedtlError(f"{where} is not a readable HDF5 file: {' '.join(str(error).split())}") from None
    if not found:
        raise MedtlError(f"{where} is an HDF5 file without layers as Keras 2 names them ('layer_names')")
    return found


def _tensors(root: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for layer, path in _paths(root):
        values = torch.from_numpy(root[layer][path][()].copy())
        inner, _, leaf = re.sub(r":\d+$", "", path).rpartition("/")
        axes = AXES.get((leaf, values.ndim))
        name = f"{(inner or layer).replace('/', '_')}.{NAMES.get(leaf, leaf)}"
        found[name] = values.permute(axes).contiguous() if axes else values
    return found


def _paths(root: Any) -> Iterator[tuple[str, str]]:
    """Yield each tensor's layer and its path within it."""
    for layer in map(_text, root.attrs.get("layer_names", ())):
        for path in map(_text, root[layer].attrs["weight_names"]):
            yield layer, path


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
