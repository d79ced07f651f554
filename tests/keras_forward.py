"""Networks of keras.applications written from its source, independent of the code under test: the pass draws each
layer's weights when it comes to it, in the order in which Keras makes its layers, and names them as Keras does."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

Arrays = dict[str, dict[str, np.ndarray]]
Size = int | tuple[int, int]


class Layers:
    """Draws layers and computes them, in double precision.

    Args:
        first: the number of the first unnamed layer: Keras counts on from model to model.
    """

    def __init__(self, first: int = 0) -> None:
        self.made: Arrays = {}
        self.random = np.random.default_rng(5)
        self.counts = {"conv2d": first, "batch_normalization": first}

    def unnamed(self, kind: str) -> str:
        number = self.counts[kind]
        self.counts[kind] += 1
        return f"{kind}_{number}" if number else kind

    def convolution(
        self, x: Tensor, filters: int, size: Size, stride: int = 1, *, same: bool = True, name: str, bias: bool = False
    ) -> Tensor:
        rows, columns = (size, size) if isinstance(size, int) else size
        width = x.shape[1]
        kernel = (1 / (rows * columns * width)) ** 0.5 * self.random.normal(size=(rows, columns, width, filters))
        self.made[name] = {"kernel": kernel.astype(np.float32)}
        if bias:
            self.made[name]["bias"] = self.random.normal(0, 0.3, filters).astype(np.float32)
        values = [torch.from_numpy(values).double() for values in self.made[name].values()]
        padding = (rows // 2, columns // 2) if same else 0
        return F.conv2d(x, values[0].permute(3, 2, 0, 1), *values[1:], stride=stride, padding=padding)

    def norm(self, x: Tensor, epsilon: float, *, scale: bool = True, name: str) -> Tensor:
        width = x.shape[1]
        drawn = {"gamma": self.random.uniform(0.5, 1.5, width)} if scale else {}
        drawn |= {"beta": self.random.normal(0, 0.3, width), "moving_mean": self.random.normal(0, 0.3, width)}
        drawn["moving_variance"] = self.random.uniform(0.5, 1.5, width)
        self.made[name] = {part: values.astype(np.float32) for part, values in drawn.items()}
        part = {key: torch.from_numpy(values).double().view(1, -1, 1, 1) for key, values in self.made[name].items()}
        return (x - part["moving_mean"]) / (part["moving_variance"] + epsilon).sqrt() * part.get("gamma", 1) + part[
            "beta"
        ]

    def __call__(
        self, x: Tensor, filters: int, size: Size, stride: int = 1, *, same: bool = True, name: str = ""
    ) -> Tensor:
        """``conv2d_bn`` of the Inceptions."""
        x = self.convolution(x, filters, size, stride, same=same, name=name or self.unnamed("conv2d"))
        name = f"{name}_bn" if name else self.unnamed("batch_normalization")
        return self.norm(x, 1e-3, scale=False, name=name).relu()

    def chain(self, x: Tensor, *layers: tuple[int, Size], down: bool = False) -> Tensor:
        """One behind the other; ``down``: the last one without padding and with stride 2."""
        for number, (filters, size) in enumerate(layers, 1):
            is_last = down and number == len(layers)
            x = self(x, filters, size, 2 if is_last else 1, same=not is_last)
        return x


def average(x: Tensor) -> Tensor:
    """AveragePooling2D(3, strides=1, padding="same"), which leaves the padding out of the mean."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def stem(images: Tensor, layers: Layers) -> Tensor:
    x = layers(images.double(), 32, 3, 2, same=False)
    x = F.max_pool2d(layers(layers(x, 32, 3, same=False), 64, 3), 3, 2)
    return F.max_pool2d(layers(layers(x, 80, 1, same=False), 192, 3, same=False), 3, 2)


def inception_v3(images: Tensor, layers: Layers) -> Tensor:
    chain, x = layers.chain, stem(images, layers)
    for width in (32, 64, 64):
        branches = [layers(x, 64, 1), chain(x, (48, 1), (64, 5)), chain(x, (64, 1), (96, 3), (96, 3))]
        x = torch.cat([*branches, layers(average(x), width, 1)], 1)
    branches = [chain(x, (384, 3), down=True), chain(x, (64, 1), (96, 3), (96, 3), down=True)]
    x = torch.cat([*branches, F.max_pool2d(x, 3, 2)], 1)
    for w in (128, 160, 160, 192):
        branches = [layers(x, 192, 1), chain(x, (w, 1), (w, (1, 7)), (192, (7, 1)))]
        branches.append(chain(x, (w, 1), (w, (7, 1)), (w, (1, 7)), (w, (7, 1)), (192, (1, 7))))
        x = torch.cat([*branches, layers(average(x), 192, 1)], 1)
    branches = [chain(x, (192, 1), (320, 3), down=True)]
    branches.append(chain(x, (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3), down=True))
    x = torch.cat([*branches, F.max_pool2d(x, 3, 2)], 1)
    for _ in range(2):
        branches = [layers(x, 320, 1)]
        for middle in (((384, 1),), ((448, 1), (384, 3))):
            y = chain(x, *middle)
            branches += [layers(y, 384, (1, 3)), layers(y, 384, (3, 1))]
        x = torch.cat([*branches, layers(average(x), 192, 1)], 1)
    return x.mean((2, 3))


def inception_resnet_v2(images: Tensor, layers: Layers) -> Tensor:
    chain, x = layers.chain, stem(images, layers)
    branches = [layers(x, 96, 1), chain(x, (48, 1), (64, 5)), chain(x, (64, 1), (96, 3), (96, 3))]
    x = torch.cat([*branches, layers(average(x), 64, 1)], 1)

    def block(x: Tensor, kind: str, scale: float, *chains: tuple[tuple[int, Size], ...], last: bool = False) -> Tensor:
        mixed = torch.cat([chain(x, *one) for one in chains], 1)
        up = layers.convolution(mixed, x.shape[1], 1, name=f"block{kind}_conv", bias=True)
        x = x + scale * up
        return x if last else x.relu()

    for n in range(1, 11):
        x = block(x, f"35_{n}", 0.17, ((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))
    branches = [chain(x, (384, 3), down=True), chain(x, (256, 1), (256, 3), (384, 3), down=True)]
    x = torch.cat([*branches, F.max_pool2d(x, 3, 2)], 1)
    for n in range(1, 21):
        x = block(x, f"17_{n}", 0.1, ((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))
    branches = [chain(x, (256, 1), (384, 3), down=True), chain(x, (256, 1), (288, 3), down=True)]
    branches.append(chain(x, (256, 1), (288, 3), (320, 3), down=True))
    x = torch.cat([*branches, F.max_pool2d(x, 3, 2)], 1)
    for n in range(1, 11):
        scale, last = (1.0, True) if n == 10 else (0.2, False)
        x = block(x, f"8_{n}", scale, ((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))), last=last)
    return layers(x, 1536, 1, name="conv_7b").mean((2, 3))


def resnet50(images: Tensor, layers: Layers) -> Tensor:
    def convolved(x: Tensor, name: str, filters: int, size: int, stride: int = 1) -> Tensor:
        x = layers.convolution(x, filters, size, stride, name=f"{name}_conv", bias=True)
        return layers.norm(x, 1.001e-5, name=f"{name}_bn")

    x = convolved(images.double(), "conv1", 64, 7, 2).relu()
    x = F.max_pool2d(F.pad(x, (1,) * 4), 3, 2)
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 2):
        for block in range(1, blocks + 1):
            name, stride = f"conv{stage}_block{block}", 2 if block == 1 and stage > 2 else 1
            shortcut = convolved(x, f"{name}_0", 4 * width, 1, stride) if block == 1 else x
            x = convolved(x, f"{name}_1", width, 1, stride).relu()
            x = convolved(convolved(x, f"{name}_2", width, 3).relu(), f"{name}_3", 4 * width, 1)
            x = (shortcut + x).relu()
    return x.mean((2, 3))


def densenet121(images: Tensor, layers: Layers) -> Tensor:
    def normed(x: Tensor, name: str) -> Tensor:
        return layers.norm(x, 1.001e-5, name=name).relu()

    x = normed(layers.convolution(images.double(), 64, 7, 2, name="conv1_conv"), "conv1_bn")
    x = F.max_pool2d(F.pad(x, (1,) * 4), 3, 2)
    for block, count in enumerate((6, 12, 24, 16), 2):
        for layer in range(1, count + 1):
            name = f"conv{block}_block{layer}"
            y = layers.convolution(normed(x, f"{name}_0_bn"), 128, 1, name=f"{name}_1_conv")
            x = torch.cat([x, layers.convolution(normed(y, f"{name}_1_bn"), 32, 3, name=f"{name}_2_conv")], 1)
        if block < 5:
            y = normed(x, f"pool{block}_bn")
            x = F.avg_pool2d(layers.convolution(y, y.shape[1] // 2, 1, name=f"pool{block}_conv"), 2)
    return normed(x, "bn").mean((2, 3))


NETWORKS: dict[str, Callable[[Tensor, Layers], Tensor]] = {
    "ResNet50": resnet50,
    "DenseNet121": densenet121,
    "InceptionV3": inception_v3,
    "IRV2": inception_resnet_v2,
}


def write(made: Arrays, path: Path, layout: str = "weights") -> Path:
    """Write layers as Keras 2 writes weights (``weights``), or a model (``model``: with ``:0`` behind the names and
    slashes in them), or as Keras 3 writes ``.weights.h5`` (``keras3``). Layers do not stand in the order in which they
    were made: Keras sorts them by depth."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'medtl[keras]'")
    names = [str(name) for name in np.random.default_rng(7).permutation(list(made))]
    with h5py.File(path, "w") as file:
        if layout == "keras3":
            _write_keras3(file, names, made)
            return path
        whole = layout == "model"
        root = file.create_group("model_weights") if whole else file
        slashed = {name: name.replace("conv1_", "conv1/") if whole and name[:6] == "conv1_" else name for name in names}
        root.attrs["layer_names"] = [name.encode() for name in (*slashed.values(), "pool1")]
        root.create_group("pool1").attrs["weight_names"] = np.array([], dtype="S1")
        for name in names:
            inner = [f"{slashed[name]}/{part}{':0' if whole else ''}" for part in made[name]]
            group = root.create_group(slashed[name])
            group.attrs["weight_names"] = [each.encode() for each in inner]
            for each, values in zip(inner, made[name].values(), strict=True):
                group.create_dataset(each, data=values)
    return path


def _write_keras3(file: object, names: list[str], made: Arrays) -> None:
    """Groups are called by their class and counted; the layer's name is an attribute."""
    counts: dict[str, int] = {}
    for name in names:
        kind = "batch_normalization" if "moving_mean" in made[name] else "dense" if "dense" in name else "conv2d"
        number = counts.setdefault(kind, 0)
        counts[kind] += 1
        group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")  # type: ignore[attr-defined]
        group.attrs["name"] = name
        for index, values in enumerate(made[name].values()):
            group.create_dataset(str(index), data=values)
    file.create_group("vars")  # type: ignore[attr-defined]
    file.create_group("layers/activation/vars")  # type: ignore[attr-defined]
