"""A released segmentation of pictures predicts where medtl is unknown what medtl predicts, pixel by pixel."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import fire
import monai.bundle
import numpy as np
import pytest
import torch
from bundle_runs import ROOT, config
from monai.bundle import verify_metadata, verify_net_in_out
from PIL import Image
from released_bundles import without_medtl
from typer.testing import CliRunner

from medtl import datalist
from medtl.bundles.inspect import problems_of_bundle
from medtl.bundles.release import release
from medtl.cli import app
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.networks.segmenter import Segmenter, build_segmenter
from medtl.runs.record import Preprocessing, Start
from medtl.runs.recorder import Recorder
from medtl.weights.card import SegmentationArchitecture, VolumeContract, WeightsCard

pytestmark = pytest.mark.slow

SEGMENT = ROOT / "bundles" / "segment"
CLASSES = ("disc", "cup")
MEAN, STD, SIZE = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 64


def masked_list(folder: Path) -> DataList:
    """Two pictures with masks, one to train and one to validate on."""
    random = np.random.default_rng(5)
    folder.mkdir()

    def entry(case: str) -> dict:
        names = {"image": f"{case}.png", "label": f"{case}_mask.png"}
        Image.fromarray(random.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(folder / names["image"])
        Image.fromarray(random.integers(0, 3, (40, 52), dtype=np.uint8)).save(folder / names["label"])
        whose = {"patient": f"eyes/{case}", "source": "eyes", "case": case, "slice": 0, "spacing": [1.0, 1.0, 1.0]}
        return {**names, **whose, "sha256": file_hash(folder / names["image"])}

    datalist.write(DataList("eyes", CLASSES, 3, "CC BY 4.0", "test", False, [entry("1")], [entry("2")], []), folder)
    return datalist.read(folder)


def made_run(folder: Path, listed: DataList, backbone: str, decoder: str, postprocess: str = "none") -> Segmenter:
    """A run folder with random weights whose classes all win somewhere, and their network."""
    torch.manual_seed(3)
    network = build_segmenter(backbone, 3, output_stride=32, decoder=decoder).eval()
    last = [module for module in network.classifier.modules() if isinstance(module, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.weight.mul_(50)
        last.bias.zero_()
        noise = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
        last.bias.sub_(network(noise).mean(dim=(0, 2, 3)))
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / "model.pt")
    built = {"backbone": backbone, "output_stride": 32, "decoder": decoder, "image_size": SIZE}
    used = {**built, "init": "imagenet", "fold": None, "sequence": None, "seed": 3, "auxiliary": 0.0, "device": "cpu"}
    recorder = Recorder({"name": "segment", "version": "0.1.0"}, listed, {**used, "postprocess": postprocess})
    target = "medtl.networks.segmenter.build_segmenter"
    recorder.record = replace(
        recorder.record,
        start=Start(init="imagenet", licence="BSD-3-Clause", mean=MEAN, std=STD),
        network={"_target_": target, **built, "num_classes": 3, "in_channels": 3, "auxiliary": False},
        preprocessing=Preprocessing(SIZE, 3, MEAN, STD, "slices", resize="bilinear"),
    )
    metrics = {"val_mean_iou": 0.5, "val_dice_disc": 0.75}
    recorder.close(folder, epochs=2, best_epoch=1, metrics=metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "predictions.csv").write_text("case,patient,split,iou_disc\n2,eyes/2,val,0.5\n")
    return network


def pictures(folder: Path) -> list[str]:
    """PNG and JPEG of several shapes and modes."""
    random = np.random.default_rng(7)
    kinds = {
        "plain.png": (64, 64, 3),
        "more/wide.png": (50, 121, 3),
        "more/tall.jpg": (200, 77, 3),
        "grey.png": (31, 45),
    }
    (folder / "more").mkdir(parents=True)
    for name, shape in kinds.items():
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(shape[1::-1])
        (coarse if len(shape) == 3 else coarse.convert("L")).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    return list(kinds)


def command(*words: object) -> None:
    """``python -m monai.bundle run WORDS`` inside this process, which spares the imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["monai.bundle", "run", *map(str, words)])
        fire.Fire(vars(monai.bundle))


ALONE = """
import runpy
root, pictures, out = sys.argv[1:]
words = ("--config_file", "configs/inference.json", "--device", "cpu", "--output_dir", out)
sys.argv[1:] = ["run", *words, "--dataset_dir", pictures]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
sys.argv[1:] = ["run", *words]
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("backbone", "decoder", "postprocess"),
    [("resnet18", "cenet", "none"), ("timm/mobilenetv2_100", "unet", "largest")],
)
def test_it_predicts_alone_what_medtl_predicts(backbone: str, decoder: str, postprocess: str, tmp_path: Path) -> None:
    network = made_run(tmp_path / "run", masked_list(tmp_path / "data"), backbone, decoder, postprocess)
    folder = release(tmp_path / "run", tmp_path / "eyes").folder
    assert problems_of_bundle(folder)[1] == []
    assert CliRunner().invoke(app, ["check", str(folder)]).exit_code == 0
    schema = ROOT / "medtl" / "bundles" / "metadata_schema.json"
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))

    text = (folder / "card.json").read_text()
    card = WeightsCard.from_json(text)
    assert card.to_json() == text
    assert isinstance(card.architecture, SegmentationArchitecture)
    assert (card.architecture.backbone, card.architecture.decoder) == (backbone, decoder)
    assert not isinstance(card.input, VolumeContract)
    assert (card.input.file_channels, card.input.mean, card.input.std) == (3, MEAN, STD)
    assert card.classes == ("background", *CLASSES)
    assert "NIfTI" not in (folder / "docs" / "README.md").read_text()

    script = torch.jit.load(folder / "models" / "model.ts")
    noise = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(script(noise), network(noise))
    words = {"meta_file": folder / "configs" / "metadata.json", "config_file": folder / "configs" / "inference.json"}
    verify_net_in_out("network", device="cpu", bundle_root=str(folder), **{k: str(v) for k, v in words.items()})

    names = pictures(tmp_path / "pictures")
    status, printed = without_medtl(ALONE, folder, tmp_path / "pictures", tmp_path / "alone", cwd=folder)
    assert status == 1, printed
    assert printed.strip().splitlines()[-1] == "--dataset_dir (missing) holds no PNG or JPEG"
    assert f"masks of {len(names)} pictures" in printed
    own = ("--input", tmp_path / "pictures", "--weights", folder / "models" / "model.pt", "--device", "cpu")
    command("--config_file", config("inference", folder=SEGMENT), *own, "--output_dir", tmp_path / "own")
    found = set()
    for name in names:
        masks = []
        for side in ("own", "alone"):
            with Image.open((tmp_path / side / "masks" / name).with_suffix(".png")) as mask:
                assert mask.mode == "L"
                masks.append(np.asarray(mask))
        with Image.open(tmp_path / "pictures" / name) as picture:
            assert masks[1].shape == picture.size[::-1]
        assert np.array_equal(*masks), name
        found |= set(np.unique(masks[0]).tolist())
    assert found == {0, 1, 2}
    assert problems_of_bundle(folder)[1] == []
