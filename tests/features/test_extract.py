"""Pictures pass through the network once, and what comes out is what the network's library gives."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_lists import SIDE, noisy_list
from PIL import Image
from safetensors.torch import save_file

from medtl.data.packed import pack
from medtl.datalist import DataList
from medtl.errors import MedtlError
from medtl.features import cache as cache_module
from medtl.features import code, extract
from medtl.features.cache import features_folder
from medtl.features.extract import Extractor, Model, before_head
from medtl.networks.backbones.zoo import timm, torchvision
from medtl.transforms.batch import normalisation
from medtl.weights.starts import resolve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def listed(module_path: Path) -> DataList:
    return noisy_list(module_path / "data", {"training": 40, "validation": 4, "test": 4})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Sizes of the batches that reach any network's head."""
    sizes: list[int] = []
    whole = extract.before_head

    def counted(network: torch.nn.Module, backbone: str, images: torch.Tensor) -> torch.Tensor:
        handle = network.register_forward_hook(lambda *_: sizes.append(len(images)))
        try:
            return whole(network, backbone, images)
        finally:
            handle.remove()

    monkeypatch.setattr(extract, "before_head", counted)
    return sizes


def pictures(listed: DataList) -> torch.Tensor:
    """The training pictures (n, 3, side, side), 0..1, decoded without medtl."""
    found = [np.asarray(Image.open(listed.folder / entry["image"])) for entry in listed.training]
    return torch.from_numpy(np.stack(found)).float().div(255)[:, None].repeat(1, 3, 1, 1)


def test_each_picture_passes_once_and_what_is_kept_is_what_was_computed(listed: DataList, seen: list[int]) -> None:
    packed = pack(listed, "train", SIDE)
    model = Model("resnet18", resolve("random", "resnet18"), SIDE, "cpu")
    first = Extractor(model)
    computed = first(packed)
    assert sum(seen) == first.computed == 40
    kept = Extractor(model)(packed)
    assert sum(seen) == 40
    assert kept.values.tobytes() == computed.values.tobytes()
    # the same network and batches once more, past the cache
    transform = normalisation(mean=model.start.mean, std=model.start.std, channels_last=True)
    parts = []
    with torch.inference_mode():
        for start in range(0, 40, 16):
            images = transform(torch.from_numpy(packed.images[start : start + 16]), torch.arange(16)[: 40 - start])
            parts.append(before_head(first.network, "resnet18", images).half())
    assert torch.cat(parts).numpy().tobytes() == kept.values.tobytes()


@pytest.mark.parametrize("change", ["weights", "size", "pixels", "mean", "bgr", "code"])
def test_another_start_size_picture_or_library_is_computed_anew(
    listed: DataList, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = resolve("random", "resnet18")
    own = Model("resnet18", start, SIDE, "cpu").named(pack(listed, "train", SIDE))
    state = extract.Extractor(Model("resnet18", start, SIDE, "cpu")).network.state_dict() if change == "weights" else {}
    if change == "weights":
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "w.safetensors")
        start = resolve(str(tmp_path / "w.safetensors"), "resnet18")
    size = 64 if change == "size" else SIDE
    other = pack(listed, "val" if change == "pixels" else "train", size)
    if change == "mean":
        start = replace(start, mean=(0.1, 0.2, 0.3))
    if change == "bgr":
        start = replace(start, bgr=True)
    if change == "code":
        monkeypatch.setattr(code, "version", lambda package: "9.9")
    assert Model("resnet18", start, size, "cpu").named(other) != own


def test_features_are_torchvisions(listed: DataList, tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = torchvision().models.resnet18(weights=None).eval()
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    theirs.fc = torch.nn.Identity()
    start = resolve(str(tmp_path / "theirs.safetensors"), "resnet18")
    mean, std = (torch.tensor(values)[:, None, None] for values in (start.mean, start.std))
    with torch.inference_mode():
        expected = theirs((pictures(listed) - mean) / std).numpy()
    found = Extractor(Model("resnet18", start, SIDE, "cpu"))(pack(listed, "train", SIDE))
    np.testing.assert_allclose(found.values, expected, rtol=2e-3, atol=1e-3)
    assert (found.facts["coverage"], found.facts["used"]) == (1, 1)
    assert found.facts["parameters"] == sum(p.numel() for p in theirs.parameters())


def test_what_is_known_of_weights_survives_a_full_disk_behind_the_last_block(
    listed: DataList, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(torchvision().models.resnet18(weights=None).state_dict(), tmp_path / "theirs.safetensors")
    model = Model("resnet18", resolve(str(tmp_path / "theirs.safetensors"), "resnet18"), SIDE, "cpu")
    packed = pack(listed, "train", SIDE)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(cache_module, "write_json", full)
        with pytest.raises(MedtlError, match="No space left"):
            Extractor(model)(packed)
    facts = Extractor(model)(packed).facts  # as another process, to which only the blocks are left
    assert sum(seen) == 40
    assert (facts["coverage"], facts["used"], facts["parameters"]) == (1, 1, 11176512)


def test_features_are_timms_before_its_head(listed: DataList, tmp_path: Path) -> None:
    torch.manual_seed(4)
    name = "vit_tiny_patch16_224"
    theirs = timm().create_model(name, num_classes=5, img_size=SIDE).eval()
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    theirs.reset_classifier(0)
    start = resolve(str(tmp_path / "theirs.safetensors"), f"timm/{name}")
    mean, std = (torch.tensor(values)[:, None, None] for values in (start.mean, start.std))
    with torch.inference_mode():
        expected = theirs((pictures(listed) - mean) / std).numpy()
    found = Extractor(Model(f"timm/{name}", start, SIDE, "cpu"))(pack(listed, "train", SIDE))
    np.testing.assert_allclose(found.values, expected, rtol=2e-3, atol=2e-3)


def test_a_head_that_is_a_convolution_is_given_its_maps_mean(listed: DataList) -> None:
    network = torchvision().models.squeezenet1_1(weights=None).eval()
    images = pictures(listed)[:3].repeat(1, 1, 2, 2)
    with torch.inference_mode():
        maps = network.features(images)
        assert torch.allclose(before_head(network, "torchvision/squeezenet1_1", images), maps.mean((2, 3)), atol=1e-6)


def test_features_that_are_no_numbers_are_refused(listed: DataList, tmp_path: Path) -> None:
    model = Model("resnet18", resolve("random", "resnet18"), SIDE, "cpu")
    extractor = Extractor(model)
    extractor.network.bn1.weight[0] = float("nan")
    with pytest.raises(MedtlError, match="gives features that are no numbers"):
        extractor(pack(listed, "train", SIDE))


def test_kill_9_while_embedding_gives_the_same_bytes(listed: DataList, tmp_path: Path, seen: list[int],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A process that is killed behind its first block of 16 pictures; the next one computes the others alone."""
    script = """
        import sys, time
        from pathlib import Path
        from medtl import datalist
        from medtl.data.packed import pack
        from medtl.features import extract
        from medtl.weights.starts import resolve
        extract.BLOCK = 16
        whole = extract.before_head
        def slow(*words):
            time.sleep(1)
            return whole(*words)
        extract.before_head = slow
        model = extract.Model("resnet18", resolve("random", "resnet18"), 32, "cpu")
        extract.Extractor(model)(pack(datalist.read(Path(sys.argv[1])), "train", 32))
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "killed"))
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(listed.folder)])
    deadline = time.monotonic() + 240
    while not any(path.stat().st_size > 16 * 1024 for path in features_folder().glob("*.blocks")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(features_folder().glob("*.npy"))
    monkeypatch.setattr(extract, "BLOCK", 16)
    model = Model("resnet18", resolve("random", "resnet18"), SIDE, "cpu")
    packed = pack(listed, "train", SIDE)
    gone_on = Extractor(model)(packed)
    assert 0 < sum(seen) < 40
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "undisturbed"))
    assert Extractor(model)(packed).path.read_bytes() == gone_on.path.read_bytes()
