"""Runs of a segmentation of pictures, made without training; for the tests of releases and of starts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from medtl import datalist
from medtl.datalist import DataList
from medtl.files import file_hash
from medtl.networks.segmenter import Segmenter, build_segmenter
from medtl.runs.record import Preprocessing, Start
from medtl.runs.recorder import Recorder

CLASSES = ("disc", "cup")
MEAN, STD, SIZE = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), 64


def masked_list(folder: Path) -> DataList:
    """Four pictures with masks, two to train and two to validate on."""
    random = np.random.default_rng(5)
    folder.mkdir()

    def entry(case: str) -> dict:
        names = {"image": f"{case}.png", "label": f"{case}_mask.png"}
        Image.fromarray(random.integers(0, 256, (40, 52, 3), dtype=np.uint8)).save(folder / names["image"])
        Image.fromarray(random.integers(0, 3, (40, 52), dtype=np.uint8)).save(folder / names["label"])
        whose = {"patient": f"eyes/{case}", "source": "eyes", "case": case, "slice": 0, "spacing": [1.0, 1.0, 1.0]}
        return {**names, **whose, "sha256": file_hash(folder / names["image"])}

    datalist.write(
        DataList(
            "eyes", CLASSES, 3, "CC BY 4.0", "test", False, [entry("1"), entry("2")], [entry("3"), entry("4")], []
        ),
        folder,
    )
    return datalist.read(folder)


def made_run(
    folder: Path, listed: DataList, backbone: str, decoder: str, postprocess: str = "none", patch_size: int = 0
) -> Segmenter:
    """A run folder with random weights whose classes all win somewhere, and their network."""
    torch.manual_seed(3)
    outputs = 1 + len(listed.classes)
    network = build_segmenter(backbone, outputs, output_stride=32, decoder=decoder).eval()
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
    prepared = ("patches", "none") if patch_size else ("slices", "bilinear")
    used = {**built, "init": "imagenet", "fold": None, "sequence": None, "seed": 3, "auxiliary": 0.0, "device": "cpu"}
    used |= {"postprocess": postprocess, "patch_size": patch_size}
    recorder = Recorder({"name": "segment", "version": "0.1.0"}, listed, used)
    target = "medtl.networks.segmenter.build_segmenter"
    recorder.record = replace(
        recorder.record,
        start=Start(init="imagenet", licence="BSD-3-Clause", mean=MEAN, std=STD),
        network={"_target_": target, **built, "num_classes": outputs, "in_channels": 3, "auxiliary": False},
        preprocessing=Preprocessing(SIZE, listed.channels, MEAN, STD, *prepared),
    )
    metrics = {"val_mean_iou": 0.5, "val_dice_disc": 0.75}
    recorder.close(folder, epochs=2, best_epoch=1, metrics=metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "predictions.csv").write_text("case,patient,split,iou_disc\n3,eyes/3,val,0.5\n")
    return network
