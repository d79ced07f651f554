"""Twelve networks of timm and torchvision, one a family, each through all that a user does with a network."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runs import ROOT, bundle_here, config, rows
from PIL import Image
from released_bundles import CLASSES, probabilities_of, small_list, without_medtl
from resume_runs import together
from typer.testing import CliRunner

from medtl.bundles.release import release
from medtl.cli import app
from medtl.datalist import DataList
from medtl.features.extract import before_head
from medtl.networks.classifier import build_classifier
from medtl.networks.freezing import freeze, frozen_parts, parameter_groups
from medtl.networks.registry import backbone_of
from medtl.runs.classifier import Classifier

pytestmark = pytest.mark.slow

FOLDER = ROOT / "bundles" / "folder"
FREEZING = ("none", "all_but_last:4", "all_but_last:3", "all_but_last:2", "all_but_last:1", "trunk")
# family to a network of it and a size that it takes
FAST = {
    "ViT": ("timm/vit_tiny_patch16_224", 64),
    "MobileNetV3": ("timm/mobilenetv3_small_050", 64),
    "ShuffleNetV2": ("torchvision/shufflenet_v2_x0_5", 64),
}
OTHERS = {
    "ResNet": ("timm/resnet10t", 64),
    "DenseNet": ("torchvision/densenet121", 64),
    "Swin": ("timm/swin_tiny_patch4_window7_224", 64),
    "ConvNeXt": ("timm/convnext_atto", 64),
    "EfficientNet": ("torchvision/efficientnet_b0", 64),
    "VGG": ("torchvision/vgg11", 64),
    "AlexNet": ("torchvision/alexnet", 96),
    "Inception-v3": ("torchvision/inception_v3", 128),
    "Inception-ResNet-v2": ("timm/inception_resnet_v2", 128),
}
MATRIX = [
    *(pytest.param(name, size, id=family) for family, (name, size) in FAST.items()),
    *(pytest.param(name, size, id=family, marks=pytest.mark.full) for family, (name, size) in OTHERS.items()),
]
# run where medtl cannot be imported
REOPENED = """
import torch
from pathlib import Path
from monai.bundle import ConfigWorkflow
root, pictures, out, library = sys.argv[1:]
workflow = ConfigWorkflow(root + "/configs/inference.json", workflow_type="inference", dataset_dir=pictures,
                          output_dir=out, bundle_root=root, device="cpu")
workflow.initialize()
workflow.run()
network = workflow.parser.get_parsed_content("network").eval()
assert type(network).__module__.startswith(library + ".models."), type(network)
images = torch.stack([item["image"] for item in workflow.dataset])
with torch.no_grad():
    torch.save({"images": images, "logits": network(images)}, Path(out) / "reopened.pt")
"""


@pytest.mark.parametrize(("name", "size"), MATRIX)
def test_a_network_goes_through_everything(name: str, size: int, tmp_path: Path) -> None:
    listed = small_list(tmp_path / "data", channels=3)
    run = trained(name, size, listed, tmp_path)
    evaluated(run, listed, tmp_path)
    predicted(run, listed, tmp_path)
    explained(run, listed, tmp_path)
    reopened(run, name, listed, tmp_path)
    in_two_processes(name, size, listed, tmp_path)
    frozen(name, size)
    pooled(name, size)
    shutil.rmtree(tmp_path)  # large


def words(name: str, size: int, listed: DataList) -> tuple[str, ...]:
    """The command's words of one short epoch."""
    small = ("--epochs", "1", "--batch_size", "3", "--num_workers", "0", "--device", "cpu")
    return ("--backbone", name, "--image_size", str(size), "--dataset_dir", str(listed.folder), *small)


def trained(name: str, size: int, listed: DataList, folder: Path) -> Path:
    """The folder of a run of one epoch."""
    run = folder / "run"
    told = (*words(name, size, listed), "--output_dir", str(run))
    status, printed = bundle_here("run", "--config_file", config("train", folder=FOLDER), *told)
    assert status == 0, printed
    return run


def evaluated(run: Path, listed: DataList, folder: Path) -> None:
    """Evaluation gives the metrics that the training gave."""
    told = ("--weights", str(run / "model.pt"), "--split", "test", "--output_dir", str(folder / "evaluated"))
    told = (*told, "--dataset_dir", str(listed.folder), "--device", "cpu", "--num_workers", "0")
    status, printed = bundle_here("run", "--config_file", config("train", "evaluate", folder=FOLDER), *told)
    assert status == 0, printed
    one, other = (json.loads((each / "metrics.json").read_text()) for each in (run, folder / "evaluated"))
    assert one["test_auc"] == pytest.approx(other["test_auc"], abs=1e-6)


def predicted(run: Path, listed: DataList, folder: Path) -> None:
    """Inference gives the probabilities that the evaluation gave."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for entry in listed.absolute("test"):
        shutil.copy(entry["image"], pictures)
    told = ("--input", str(pictures), "--weights", str(run / "model.pt"), "--output_dir", str(folder / "predicted"))
    status, printed = bundle_here("run", "--config_file", config("inference", folder=FOLDER), *told, "--device", "cpu")
    assert status == 0, printed
    known = {Path(row["image"]).name: row for row in rows(folder / "evaluated" / "predictions.csv")}
    found = rows(folder / "predicted" / "predictions.csv")
    assert len(found) == len(known) == len(listed.test)
    there = probabilities_of([known[Path(row["image"]).name] for row in found], CLASSES)
    assert np.allclose(probabilities_of(found, CLASSES), there, rtol=0, atol=1e-5)


def explained(run: Path, listed: DataList, folder: Path) -> None:
    """Each picture has an overlay, and for some class of some picture a place speaks more than others."""
    told = ["--dataset_dir", str(listed.folder), "--split", "test", "--out", str(folder / "explained")]
    done = CliRunner().invoke(app, ["explain", str(run), *told], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with open(folder / "explained" / "explain.csv", newline="") as file:
        panels = [row["panel"] for row in csv.DictReader(file)]
    assert len(panels) == len(listed.test)
    for panel in panels:
        with Image.open(folder / "explained" / panel) as image:
            assert image.width > image.height  # the picture and the picture with its heat map


def reopened(run: Path, name: str, listed: DataList, folder: Path) -> None:
    """The released bundle gives the run's logits where medtl is unknown."""
    release(run, folder / "released")
    library = name.partition("/")[0]
    # timm brings safetensors along
    code = f"HIDDEN = tuple(name for name in HIDDEN if name != 'safetensors')\n{REOPENED}"
    told = (folder / "released", folder / "pictures", folder / "reopened", library)
    status, printed = without_medtl(code, *told, cwd=folder)
    assert status == 0, printed
    found = torch.load(folder / "reopened" / "reopened.pt", weights_only=True)
    with torch.no_grad():
        logits = Classifier.of_run(run).network(found["images"])
    assert torch.allclose(found["logits"], logits, rtol=0, atol=1e-5)
    ours, theirs = (rows(folder / each / "predictions.csv") for each in ("predicted", "reopened"))
    assert np.allclose(probabilities_of(ours, CLASSES), probabilities_of(theirs, CLASSES), rtol=0, atol=1e-4)


def in_two_processes(name: str, size: int, listed: DataList, folder: Path) -> None:
    """Two processes train; a second step would wait for a gradient that never came."""
    told = (*words(name, size, listed), "--freeze", "all_but_last:3", "--output_dir", str(folder / "two"))
    names = config("train", "multi_gpu_train", folder=FOLDER)
    status, printed = together("run", "--config_file", names, *told, "--batch_size", "2", log=folder / "log")
    assert status == 0, printed
    assert len(rows(folder / "two" / "predictions.csv")) == len(listed.validation) + len(listed.test)
    state = torch.load(folder / "two" / "model.pt", weights_only=True)
    assert not any(key.startswith("module.") for key in state)


def frozen(name: str, size: int) -> None:
    """With each part frozen the others train, and what is frozen stays to the last bit, its statistics included."""
    card = backbone_of(name)
    torch.manual_seed(2)
    network = build_classifier(name, 3, image_size=size)
    images, labels = torch.randn(3, 3, size, size), torch.arange(3)
    for how in FREEZING:
        freeze(network, name, how)
        parts = frozen_parts(name, how)
        before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        optimizer = torch.optim.SGD(parameter_groups(network, name, 0.01))
        loss = torch.nn.functional.cross_entropy(network.train()(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        waiting = [key for key, each in network.named_parameters() if each.requires_grad and each.grad is None]
        assert waiting == [], how
        held = [key for key in before if any(key == part or key.startswith(f"{part}.") for part in parts)]
        after = network.state_dict()
        assert [key for key in held if not torch.equal(after[key], before[key])] == [], how
        training = [key for key, each in network.named_parameters() if each.requires_grad]
        assert not set(training) & set(held)
        moved = {key for key in training if not torch.equal(after[key], before[key])}
        assert any(card.is_head(key) for key in moved), how
        # each part that trains moves
        count = len(card.parts) - (0 if how == "none" else 5 - int(how[-1]) if ":" in how else 5)
        for part in card.parts[len(card.parts) - count :]:
            assert any(key == one or key.startswith(f"{one}.") for one in part for key in moved), (how, part)


def pooled(name: str, size: int) -> None:
    """What a head is given is what the library's own network gives without a head."""
    torch.manual_seed(3)
    network = build_classifier(name, 3, image_size=size).eval()
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        ours = before_head(network, name, images)
        if name.startswith("timm/"):
            theirs = network.forward_head(network.forward_features(images), pre_logits=True)
        else:  # torchvision's way of doing so is to take the head away
            outer, _, last = backbone_of(name).head.rpartition(".")
            setattr(network.get_submodule(outer), last, torch.nn.Identity())
            theirs = network(images)
    assert torch.allclose(ours, theirs.flatten(1), rtol=1e-5, atol=1e-5)
