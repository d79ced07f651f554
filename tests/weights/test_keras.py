"""Keras's files load where torch computes the same, and are refused where it does not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from medtl.errors import MedtlError, UsageError
from medtl.networks.classifier import build_classifier
from medtl.weights import keras
from medtl.weights.load import load_pretrained
from medtl.weights.read import read_checkpoint

pytestmark = pytest.mark.slow

Arrays = dict[str, dict[str, np.ndarray]]
EPSILON = 1.001e-5
BLOCKS = (6, 12, 24, 16)


def layers() -> Arrays:
    """A DenseNet-121 as keras.applications names it, weights in Keras's order of axes, drawn here."""
    random = np.random.default_rng(5)
    made: Arrays = {}

    def convolution(name: str, size: int, inputs: int, outputs: int) -> None:
        scale = (2 / (size * size * inputs)) ** 0.5
        made[name] = {"kernel": (scale * random.normal(size=(size, size, inputs, outputs))).astype(np.float32)}

    def norm(name: str, width: int) -> None:
        draws = {part: random.normal(0, 0.1, width) for part in ("beta", "moving_mean")}
        draws |= {part: random.uniform(0.5, 1.5, width) for part in ("gamma", "moving_variance")}
        made[name] = {part: values.astype(np.float32) for part, values in draws.items()}

    convolution("conv1_conv", 7, 3, 64)
    norm("conv1_bn", 64)
    width = 64
    for block, count in enumerate(BLOCKS, 2):
        for layer in range(1, count + 1):
            name = f"conv{block}_block{layer}"
            norm(f"{name}_0_bn", width)
            convolution(f"{name}_1_conv", 1, width, 128)
            norm(f"{name}_1_bn", 128)
            convolution(f"{name}_2_conv", 3, 128, 32)
            width += 32
        if block < 5:
            norm(f"pool{block}_bn", width)
            convolution(f"pool{block}_conv", 1, width, width // 2)
            width //= 2
    norm("bn", width)
    return made


def forward(images: torch.Tensor, made: Arrays) -> torch.Tensor:
    """The pooled features of Keras's DenseNet-121, written from its source's order of layers."""

    def convolved(x: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        kernel = torch.from_numpy(made[name]["kernel"].transpose(3, 2, 0, 1).copy())
        return F.conv2d(F.pad(x, (padding,) * 4), kernel, stride=stride)

    def normed(x: torch.Tensor, name: str) -> torch.Tensor:
        part = {key: torch.from_numpy(values).view(1, -1, 1, 1).double() for key, values in made[name].items()}
        scaled = (x.double() - part["moving_mean"]) / (part["moving_variance"] + EPSILON).sqrt()
        return (part["gamma"] * scaled + part["beta"]).relu().float()

    x = normed(convolved(images, "conv1_conv", 2, 3), "conv1_bn")
    x = F.max_pool2d(F.pad(x, (1,) * 4), 3, 2)
    for block, count in enumerate(BLOCKS, 2):
        for layer in range(1, count + 1):
            name = f"conv{block}_block{layer}"
            y = normed(convolved(normed(x, f"{name}_0_bn"), f"{name}_1_conv"), f"{name}_1_bn")
            x = torch.cat([x, convolved(y, f"{name}_2_conv", padding=1)], dim=1)
        if block < 5:
            x = F.avg_pool2d(convolved(normed(x, f"pool{block}_bn"), f"pool{block}_conv"), 2)
    return normed(x, "bn").mean((2, 3))


def write(made: Arrays, path: Path, *, whole: bool) -> Path:
    """As Keras 2 writes weights, or (``whole``) a model, there with ``:0`` behind the names and slashes in them."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install 'medtl[keras]'")
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        names = [name.replace("conv1_", "conv1/") if whole and name[:6] == "conv1_" else name for name in made]
        root.attrs["layer_names"] = [name.encode() for name in (*names, "pool1")]
        root.create_group("pool1").attrs["weight_names"] = np.array([], dtype="S1")
        for name, weights in zip(names, made.values(), strict=True):
            inner = [f"{name}/{part}{':0' if whole else ''}" for part in weights]
            group = root.create_group(name)
            group.attrs["weight_names"] = [each.encode() for each in inner]
            for each, values in zip(inner, weights.values(), strict=True):
                group.create_dataset(each, data=values)
    return path


@pytest.mark.parametrize("whole", [False, True], ids=["weights", "model"])
@torch.no_grad()
def test_densenet_computes_as_in_keras(whole: bool, tmp_path: Path) -> None:
    made = layers()
    path = write(made, tmp_path / "RadImageNet-DenseNet121_notop.h5", whole=whole)
    network = build_classifier("densenet121", 3, image_size=64).eval()
    report = load_pretrained(network, path, "densenet121")
    assert report.fits
    assert "those of Keras's DenseNet" in str(report)
    seen: list[torch.Tensor] = []
    network.class_layers.out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.rand(2, 3, 64, 64)
    network(images)
    expected = forward(images, made)
    assert float((seen[0] - expected).abs().max() / expected.abs().max()) < 1e-5


def test_its_resnet_is_refused_for_its_strides(tmp_path: Path) -> None:
    made = {
        "conv1_conv": {"kernel": np.zeros((7, 7, 3, 64), np.float32), "bias": np.zeros(64, np.float32)},
        "conv2_block1_1_conv": {"kernel": np.zeros((1, 1, 64, 64), np.float32), "bias": np.zeros(64, np.float32)},
    }
    path = write(made, tmp_path / "RadImageNet-ResNet50_notop.h5", whole=False)
    with pytest.raises(MedtlError, match=r"Keras's ResNet .*first 1 × 1 convolution .*answers would be wrong"):
        load_pretrained(build_classifier("resnet50", 2), path, "resnet50")


def test_axes_are_those_of_torch(tmp_path: Path) -> None:
    made = {"dense": {"kernel": np.arange(6, dtype=np.float32).reshape(3, 2), "bias": np.ones(2, np.float32)}}
    state = read_checkpoint(write(made, tmp_path / "dense.h5", whole=False)).state
    assert state["dense.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert state["dense.bias"].tolist() == [1, 1]


def test_a_damaged_file_and_an_absent_library_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(layers(), tmp_path / "whole.h5", whole=False)
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(MedtlError, match="not a readable HDF5 file"):
        read_checkpoint(tmp_path / "cut.h5")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.ones(3)
    with pytest.raises(MedtlError, match="without layers"):
        read_checkpoint(tmp_path / "other.h5")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UsageError, match=r"needs h5py: pip install 'medtl\[keras\]'"):
        read_checkpoint(path)


@pytest.mark.full
def test_keras_itself_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras from PyPI on its torch backend, random weights."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    theirs = pytest.importorskip("keras", reason="Keras is not installed: pip install keras")
    theirs.utils.set_random_seed(3)
    model = theirs.applications.DenseNet121(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w for w in model.get_weights()])
    model.save(tmp_path / "densenet.h5")
    network = build_classifier("densenet121", 3, image_size=64).eval()
    assert load_pretrained(network, tmp_path / "densenet.h5", "densenet121").fits
    images = random.uniform(size=(2, 64, 64, 3)).astype(np.float32)
    seen: list[torch.Tensor] = []
    network.class_layers.out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(torch.from_numpy(images).permute(0, 3, 1, 2))
        expected = torch.as_tensor(model(images)).cpu()
    assert float((seen[0] - expected).abs().max() / expected.abs().max()) < 1e-5
    assert (tmp_path / "densenet.h5").read_bytes()[:4] == keras.MARK
