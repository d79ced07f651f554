"""Keras's files load where a network here computes the same, and are refused where none does.

Features agree with a pass written from Keras's source (drawn files, here) to 1e-4 of the largest; so do those of Keras
itself, in ``tox -e full``.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from keras_forward import NETWORKS, Layers, write
from monai.bundle import ConfigParser

from medtl.bundles.audit.bundle import audit
from medtl.errors import MedtlError, UsageError
from medtl.networks.backbones import keras as networks
from medtl.networks.classifier import build_classifier
from medtl.networks.registry import backbone_of
from medtl.weights import keras
from medtl.weights.load import LoadReport, load_pretrained
from medtl.weights.look import look
from medtl.weights.read import read_checkpoint

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4  # of the largest feature
BACKBONES = {
    "ResNet50": "keras/resnet50",
    "DenseNet121": "densenet121",
    "InceptionV3": "keras/inception_v3",
    "IRV2": "timm/inception_resnet_v2",
}
SIZES = {"ResNet50": 64, "DenseNet121": 64, "InceptionV3": 107, "IRV2": 107}


def features(network: torch.nn.Module, backbone: str, images: torch.Tensor) -> torch.Tensor:
    """What the head gets."""
    seen: list[torch.Tensor] = []
    network.get_submodule(backbone_of(backbone).head).register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0])
    )
    with torch.no_grad():
        network.eval()(images)
    return seen[0]


def loaded(path: Path, backbone: str, size: int = 64) -> tuple[torch.nn.Module, LoadReport]:
    network = build_classifier(backbone, 3, image_size=size)
    return network, load_pretrained(network, path, backbone)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ("name", "layout", "first"),
    [
        ("ResNet50", "weights", 0),
        ("ResNet50", "keras3", 0),
        ("DenseNet121", "weights", 0),
        ("DenseNet121", "model", 0),
        ("DenseNet121", "keras3", 0),
        ("InceptionV3", "weights", 0),
        ("InceptionV3", "keras3", 95),
        ("IRV2", "weights", 189),
    ],
)
def test_they_compute_as_in_keras(name: str, layout: str, first: int, tmp_path: Path) -> None:
    layers, size = Layers(first), SIZES[name]
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = NETWORKS[name](images, layers)
    path = write(layers.made, tmp_path / f"RadImageNet-{name}_notop.h5", layout)
    network, report = loaded(path, BACKBONES[name], size)
    assert report.fits
    assert "those of Keras's" in str(report)
    assert off(features(network, BACKBONES[name], images).double(), expected) < TOLERANCE
    looked = look(path)
    assert looked.networks == (BACKBONES[name],)
    assert looked.contract.trained_on == ("radimagenet",)
    assert (looked.contract.bgr, looked.contract.std) == (True, (1.0,) * 3)


@pytest.fixture(scope="module")
def resnet(module_path: Path) -> Path:
    """A Keras ResNet-50."""
    layers = Layers()
    with torch.no_grad():
        NETWORKS["ResNet50"](torch.rand(1, 3, 32, 32), layers)
    return write(layers.made, module_path / "RadImageNet-ResNet50_notop.h5")


def test_resnet_is_refused_where_the_strides_lie_elsewhere(resnet: Path) -> None:
    with pytest.raises(MedtlError, match=r"first 1 × 1 convolution .*would be wrong: take --backbone keras/resnet50"):
        loaded(resnet, "resnet50")
    with pytest.raises(MedtlError, match="keras/resnet50"):
        loaded(resnet, "torchvision/resnet50")


def test_inception_is_refused_where_pools_count_the_padding(tmp_path: Path) -> None:
    layers = Layers(200)
    with torch.no_grad():
        NETWORKS["InceptionV3"](torch.rand(1, 3, 75, 75), layers)
    path = write(layers.made, tmp_path / "RadImageNet-InceptionV3_notop.h5")
    for backbone in ("torchvision/inception_v3", "timm/inception_v3"):
        with pytest.raises(MedtlError, match=r"leave the padding out .*take --backbone keras/inception_v3"):
            loaded(path, backbone, 107)


def test_torchs_weights_are_not_taken_for_keras(tmp_path: Path) -> None:
    """Names and shapes are the same; only a card or a run's record can tell them apart."""
    theirs = build_classifier("keras/resnet50", 2, image_size=64)
    torch.save(theirs.state_dict(), tmp_path / "model.pt")
    with pytest.raises(MedtlError, match="nothing says that these weights are of keras/resnet50: it halves"):
        loaded(tmp_path / "model.pt", "keras/resnet50")
    assert loaded(tmp_path / "model.pt", "resnet50")[1].fits
    (tmp_path / "run.json").write_text(json.dumps({"network": {"backbone": "keras/resnet50"}}))
    assert loaded(tmp_path / "model.pt", "keras/resnet50")[1].fits
    for backbone in ("resnet50", "torchvision/resnet50"):
        with pytest.raises(MedtlError, match=r"these weights are of keras/resnet50: it halves.*would be wrong"):
            loaded(tmp_path / "model.pt", backbone)
    assert look(tmp_path / "model.pt").networks == ()
    (tmp_path / "run.json").write_text(json.dumps({"network": {"backbone": "resnet50"}}))
    with pytest.raises(MedtlError, match="these weights are of resnet50"):
        loaded(tmp_path / "model.pt", "keras/resnet50")


@pytest.mark.parametrize(("name", "other"), [("resnet50", "resnet50"), ("inception_v3", "torchvision/inception_v3")])
def test_the_released_network_computes_as_ours_and_torchs_does_not(name: str, other: str) -> None:
    card = backbone_of(f"keras/{name}")
    ours = build_classifier(card.name, 4, image_size=107, dropout=0.5).eval()
    stock = ConfigParser({"n": card.stock(4, 3, 107)}).get_parsed_content("n").eval()
    torchs = build_classifier(other, 4, image_size=107).eval()
    images = torch.rand(2, 3, 107, 107)
    for network in (stock, torchs):
        network.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert torch.equal(stock(images), ours(images))
        assert off(torchs(images), ours(images)) > 0.01
    card.check(ours)
    with pytest.raises(MedtlError, match="build it with build_classifier"):
        card.check(torchs)


def test_what_a_release_does_to_the_stock_network_is_reviewed(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    definition = backbone_of("keras/resnet50").stock(3, 3, 224)
    for fn, faults in ((networks.MOVED, 0), (networks.UNPADDED, 0), ("$lambda block: block.open('x')", 1)):
        content = {"imports": ["$import torch"], "network_def": definition | {"fn": fn}}
        (tmp_path / "configs" / "inference.json").write_text(json.dumps(content))
        assert len(audit(tmp_path).unreviewed) == faults


def test_other_networks_of_keras_have_no_name_here() -> None:
    with pytest.raises(UsageError, match=r"not one of keras/inception_v3, keras/resnet50.*DenseNet121 is densenet121"):
        backbone_of("keras/densenet121")
    assert networks.names() == ("inception_v3", "resnet50")


def test_order_alone_is_no_evidence_in_a_file_of_keras(tmp_path: Path) -> None:
    """Keras's MobileNetV2 has the shapes of timm's in the same order, and pads on one side only."""
    state = build_classifier("timm/mobilenetv2_100", 2, image_size=64).state_dict()
    keras_names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    made: dict[str, dict[str, np.ndarray]] = {}
    places = {module: f"layer_{n}" for n, module in enumerate(dict.fromkeys(name.rpartition(".")[0] for name in state))}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        is_depthwise = tensor.ndim == 4 and tensor.shape[1] == 1
        if tensor.ndim == 4:
            kind, axes = ("depthwise_kernel", (2, 3, 0, 1)) if is_depthwise else ("kernel", (2, 3, 1, 0))
            made[places[module]] = {kind: tensor.permute(axes).numpy()}
        elif leaf in keras_names and module != "classifier":
            made.setdefault(places[module], {})[keras_names[leaf]] = tensor.numpy()
    write(made, tmp_path / "mobilenet_v2.h5")
    with pytest.raises(MedtlError, match="does not fit timm/mobilenetv2_100"):
        loaded(tmp_path / "mobilenet_v2.h5", "timm/mobilenetv2_100")


def test_a_head_of_keras_is_left_out(tmp_path: Path) -> None:
    layers = Layers()
    with torch.no_grad():
        NETWORKS["DenseNet121"](torch.rand(1, 3, 32, 32), layers)
    layers.made["dense"] = {"kernel": np.ones((1024, 2), np.float32), "bias": np.ones(2, np.float32)}
    for layout in ("model", "keras3"):
        _, report = loaded(write(layers.made, tmp_path / f"{layout}.h5", layout), "densenet121")
        assert report.fits
        assert report.dropped == ("dense.weight", "dense.bias")


@pytest.mark.parametrize("layout", ["weights", "keras3"])
def test_axes_are_those_of_torch(layout: str, tmp_path: Path) -> None:
    made = {"dense": {"kernel": np.arange(6, dtype=np.float32).reshape(3, 2), "bias": np.ones(2, np.float32)}}
    checkpoint = read_checkpoint(write(made, tmp_path / "dense.h5", layout))
    assert checkpoint.library == "Keras"
    assert checkpoint.state["dense.weight"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert checkpoint.state["dense.bias"].tolist() == [1, 1]


def test_a_damaged_file_and_an_absent_library_are_told(
    resnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "cut.h5").write_bytes(resnet.read_bytes()[:3000])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.ones(3)
    with h5py.File(tmp_path / "early.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = np.ones((1, 1, 3, 4), np.float32)
    with h5py.File(tmp_path / "twice.weights.h5", "w") as file:
        for group in ("conv2d", "conv2d_1"):
            file[f"layers/{group}/vars/0"] = np.ones((1, 1, 3, 4), np.float32)
            file[f"layers/{group}/vars"].attrs["name"] = "same"
    for name, words in (
        ("cut.h5", "not a readable HDF5 file"),
        ("other.h5", "without layers"),
        ("early.weights.h5", "conv2d/vars does not name its layer"),
        ("twice.weights.h5", "two layers are called same"),
    ):
        with pytest.raises(MedtlError, match=words) as caught:
            read_checkpoint(tmp_path / name)
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UsageError, match=r"needs h5py: pip install 'medtl\[keras\]'"):
        read_checkpoint(resnet)


@pytest.mark.full
@pytest.mark.parametrize("name", BACKBONES)
def test_keras_itself_agrees(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras from PyPI on its torch backend, random weights: a model as Keras 2 wrote it, and Keras 3's weights."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    theirs = pytest.importorskip("keras", reason="Keras is not installed: pip install keras")
    theirs.utils.set_random_seed(3)
    size = SIZES[name]
    made = getattr(theirs.applications, {"IRV2": "InceptionResNetV2"}.get(name, name))
    model = made(include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg")
    random = np.random.default_rng(1)
    model.set_weights([random.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else w for w in model.get_weights()])
    images = random.uniform(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        expected = torch.as_tensor(model(images)).cpu()
    model.save(tmp_path / "model.h5")
    model.save_weights(tmp_path / "keras3.weights.h5")
    for file in ("model.h5", "keras3.weights.h5"):
        assert (tmp_path / file).read_bytes()[:4] == keras.MARK
        network, report = loaded(tmp_path / file, BACKBONES[name], size)
        assert report.fits
        found = features(network, BACKBONES[name], torch.from_numpy(images).permute(0, 3, 1, 2))
        assert off(found, expected) < TOLERANCE
