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
# Keras 3 numbers a layer's tensors, and says what it is by the name of its group (conv2d_7). A norm of three has no
# gamma (scale=False), as in Keras's Inceptions; one without beta would be counted the same, and no network here has it
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
NUMBERED: dict[str, dict[int, tuple[str, ...]]] = {
    "conv2d": {1: ("kernel",), 2: ("kernel", "bias")},
    "dense": {1: ("kernel",), 2: ("kernel", "bias")},
    "depthwise_conv2d": {1: ("depthwise_kernel",), 2: ("depthwise_kernel", "bias")},
    "batch_normalization": {4: NORM, 3: NORM[1:]},
}


def read(source: Path | io.BytesIO, where: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file that Keras 2 wrote, or Keras 3 as ``.h5`` or ``.weights.h5``: ``LAYER.weight``,
    ``LAYER.bias``, ``LAYER.running_mean``, ``LAYER.running_var``.

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
            check_growth(stored, _claimed(file))
            root = file.get("model_weights", file)
            found = _tensors(root) if "layer_names" in root.attrs else _numbered(file)
    except BadFileError as error:
        raise MedtlError(f"{where} {error}") from None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise MedtlError(f"{where} is not a readable HDF5 file of Keras: {' '.join(str(error).split())}") from None
    if not found:
        raise MedtlError(
            f"{where} is an HDF5 file without layers as Keras 2 ('layer_names') or Keras 3 ('layers') names them"
        )
    return found


def _claimed(file: Any) -> int:
    """Bytes that all arrays of a file say they hold."""
    sizes: list[int] = []
    file.visititems(lambda _, found: sizes.append(getattr(found, "nbytes", 0)))
    return sum(sizes)


def _tensors(root: Any) -> dict[str, torch.Tensor]:
    """The tensors as Keras 2 lists them: the layers' names, and in each layer those of its weights."""
    found: dict[str, torch.Tensor] = {}
    for layer in map(_text, root.attrs["layer_names"]):
        for path in map(_text, root[layer].attrs["weight_names"]):
            inner, _, leaf = re.sub(r":\d+$", "", path).rpartition("/")
            found |= _named((inner or layer).replace("/", "_"), leaf, root[layer][path])
    return found


def _numbered(file: Any) -> dict[str, torch.Tensor]:
    """The tensors as Keras 3's ``.weights.h5`` holds them: numbers in a layer's group ``vars``, whose attribute says
    the layer's name; of a model within a model too.

    Raises:
        ValueError: a layer's name is not stated, as by the first releases of Keras 3.
    """
    found: dict[str, torch.Tensor] = {}
    for path, group in _groups(file, ""):
        if "name" not in group.attrs:
            raise ValueError(f"{path} does not name its layer, as Keras does since 3.4: save it again, as .h5")
        layer = _text(group.attrs["name"]).replace("/", "_")
        kind = re.sub(r"_\d+$", "", path.split("/")[-2])
        known = NUMBERED.get(kind, {}).get(len(group), ())
        for number in sorted(group, key=int):
            named = _named(layer, known[int(number)] if known else number, group[number])
            if repeated := named.keys() & found.keys():
                raise ValueError(f"two layers are called {layer} (both have {min(repeated)})")
            found |= named
    return found


def _groups(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    """Yield the groups ``vars`` that hold anything, with their paths."""
    for name, child in group.items():
        path = f"{before}/{name}"
        if name == "vars":
            if len(child) and path.count("/") > 1:  # the model's own: counters of an optimiser
                yield path, child
        elif hasattr(child, "items") and name != "optimizer":
            yield from _groups(child, path)


def _named(layer: str, leaf: str, values: Any) -> dict[str, torch.Tensor]:
    """One tensor, under its name and with its axes as torch has them."""
    tensor = torch.from_numpy(values[()].copy())
    axes = AXES.get((leaf, tensor.ndim))
    return {f"{layer}.{NAMES.get(leaf, leaf)}": tensor.permute(axes).contiguous() if axes else tensor}


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
